//! Agents made on the spot, and jobs for them.

use std::path::Path;

use rpc::v1::InputFile;
use serde_json::{Value, json};

/// A bundle and how to start it.
pub struct Agent {
    pub bundle: Vec<u8>,
    pub spec: Value,
}

/// One job.
pub struct Job {
    pub kind: &'static str,
    pub timeout_secs: u32,
    pub idle_secs: u32,
    pub traceparent: String,
    pub inputs: Vec<(InputFile, Vec<u8>)>,
    pub bundle_sha256: Option<String>,
}

impl Agent {
    /// A Python program; `steward` can be imported.
    pub fn python(program: &str) -> Self {
        let helper = std::fs::read(examples().join("python/steward.py")).unwrap();
        let files = [("agent.py", program.as_bytes()), ("steward.py", &helper)];
        Self::of(&files, json!(["python3", "agent.py"]))
    }

    /// No program: jobs are posted to an address.
    pub fn endpoint(url: &str) -> Self {
        let mut agent = Self::of(&[("readme.txt", b"x")], json!([]));
        agent.spec = json!({"run": {"adapter": "http"}, "http": {"url": url}});
        agent
    }

    /// A shell script.
    pub fn shell(script: &str) -> Self {
        Self::of(&[("agent.sh", script.as_bytes())], json!(["sh", "agent.sh"]))
    }

    /// Files and a command.
    pub fn of(files: &[(&str, &[u8])], command: Value) -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, body) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(body.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *body).unwrap();
        }
        Self {
            bundle: builder.into_inner().unwrap(),
            spec: json!({"run": {"adapter": "command", "command": command}}),
        }
    }

    /// A folder of `examples/agents`, with its agent file read by the rules of the product.
    pub fn sample(name: &str) -> Self {
        let folder = examples().join(name);
        let file = std::fs::read_to_string(folder.join("agent.toml")).unwrap();
        let file = domain::agent_file::AgentFile::parse(&file).unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_dir_all(".", &folder).unwrap();
        Self {
            bundle: builder.into_inner().unwrap(),
            spec: json!({
                "run": file.run, "prompt": file.prompt, "http": file.http, "env": file.env, "limits": file.limits, "network": file.network, "models": file.models,
            }),
        }
    }

    pub fn with(mut self, section: &str, value: Value) -> Self {
        match (&mut self.spec[section], value) {
            (Value::Object(there), Value::Object(more)) => there.extend(more),
            (place, value) => *place = value,
        }
        self
    }
}

impl Job {
    pub fn work() -> Self {
        Self {
            kind: "work",
            timeout_secs: 30,
            idle_secs: 30,
            traceparent: String::new(),
            inputs: Vec::new(),
            bundle_sha256: None,
        }
    }

    pub fn of_kind(kind: &'static str) -> Self {
        Self { kind, ..Self::work() }
    }

    /// The job file.
    pub fn file(&self, run_id: &str) -> Value {
        let name = match self.kind {
            "work" => "job-work.json",
            "revise" => "job-revise.json",
            "reply" => "job-reply.json",
            _ => "job-propose.json",
        };
        let text = std::fs::read_to_string(schemas().join("examples").join(name)).unwrap();
        let mut job: Value = serde_json::from_str(&text).unwrap();
        job["run_id"] = json!(run_id);
        job
    }
}

pub fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/agents")
}

pub fn schemas() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas")
}
