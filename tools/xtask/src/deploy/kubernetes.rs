//! The executor's pod: what it says of a stop, and the settings it makes.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A pod of one container.
pub struct Pod(Value);

impl Pod {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is not YAML.
    pub fn parse(text: &str) -> Result<Self> {
        let value: serde_norway::Value = serde_norway::from_str(text).context("parse it as YAML")?;
        Ok(Self(serde_json::to_value(value).context("read it as plain data")?))
    }

    /// How long a stop may take.
    pub fn stop_grace(&self) -> Option<Duration> {
        self.0["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .map(Duration::from_secs)
    }

    /// The environment of its container.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let all = self.0["spec"]["containers"][0]["env"].as_array().into_iter().flatten();
        all.filter_map(|each| Some((each["name"].as_str()?.to_owned(), each["value"].as_str()?.to_owned())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_says_how_long_it_may_take_to_stop_and_what_it_sets() {
        let pod = "spec: {terminationGracePeriodSeconds: 7, containers: [{env: [{name: A, value: b}]}]}";
        let pod = Pod::parse(pod).unwrap();
        assert_eq!(pod.stop_grace(), Some(Duration::from_secs(7)));
        assert_eq!(pod.environment()["A"], "b");
    }
}
