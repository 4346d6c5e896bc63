//! The answer that comes later: the endpoint took the job with 202, and posts its lines to the executor, which puts them
//! into a pipe.

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, LOCATION};
use outbound::{Client, Method, Url};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::OpenOptions;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::http::Lines;
use super::{Call, End, Task, Voice};

/// What the endpoint has to let go of a job: less than the time between SIGTERM and SIGKILL.
const FAREWELL: Duration = Duration::from_millis(800);
/// Bytes read at once.
const PART: usize = 64 * 1024;

/// Hears lines until one decides the end, or the run is stopped; then the endpoint is told where it wants to be.
pub(super) async fn listen(
    task: &Task,
    call: &Call,
    client: &Client,
    headers: &HeaderMap,
    voice: &mut Voice,
) -> Result<End, String> {
    let Some(callbacks) = &call.callbacks else {
        return Err(
            "the endpoint answered 202, but this executor has no address for answers that come later: set \
             endpoints.listen and endpoints.public_url of the executor, or answer 200 and stream the events"
                .to_owned(),
        );
    };
    let job = headers
        .get(LOCATION)
        .map(|place| place_of_job(call, place.to_str().ok()));
    let job = match job {
        Some(None) => {
            voice.progress(
                "the Location of the endpoint's answer is not on the endpoint's own host and port: ignored",
            )?;
            None
        }
        other => other.flatten(),
    };
    let mut stop = signal(SignalKind::terminate()).map_err(|error| format!("wait for a stop: {error}"))?;
    let mut pipe = OpenOptions::new()
        .open_receiver(&callbacks.lines)
        .map_err(|error| format!("open the pipe of lines: {error}"))?;
    voice.progress("the endpoint has the job and answers later")?;
    let (mut lines, mut part) = (Lines::default(), vec![0; PART]);
    loop {
        let read = tokio::select! {
            read = pipe.read(&mut part) => read.map_err(|error| format!("read the pipe of lines: {error}"))?,
            () = stopped(&mut stop) => 0,
        };
        // Told to stop, or the executor takes no more lines, because the attempt is being stopped.
        if read == 0 {
            farewell(call, client, job).await;
            return Err("it was stopped before the endpoint gave a result".to_owned());
        }
        if lines.hear(task, part.get(..read).unwrap_or_default(), voice, true)? {
            return Ok(End::Said);
        }
    }
}

async fn stopped(stop: &mut Signal) {
    if stop.recv().await.is_none() {
        // No signal will come any more.
        std::future::pending().await
    }
}

/// Where the job is on the endpoint: on its own host and port only, as nothing else may be called from here.
fn place_of_job(call: &Call, location: Option<&str>) -> Option<Url> {
    let place = call.url.join(location?).ok()?;
    (place.origin() == call.url.origin()).then_some(place)
}

/// One DELETE, and whatever comes of it.
async fn farewell(call: &Call, client: &Client, job: Option<Url>) {
    let Some(job) = job else { return };
    let request = client.request(Method::DELETE, job);
    let request = request.header(AUTHORIZATION, format!("Bearer {}", call.token));
    let _nothing_to_do_about_it = tokio::time::timeout(FAREWELL, client.send(request)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_let_go_of_at_its_endpoint_and_nowhere_else() {
        let call = Call {
            url: "https://agent.example.org/jobs".parse().unwrap(),
            private: false,
            token: String::new(),
            key: String::new(),
            gateway: None,
            callbacks: None,
        };
        let place = |location: &str| place_of_job(&call, Some(location)).map(String::from);
        let there = Some("https://agent.example.org/jobs/7".to_owned());
        assert_eq!(place("/jobs/7"), there);
        assert_eq!(place("https://agent.example.org/jobs/7"), there);
        for elsewhere in [
            "http://agent.example.org/jobs/7",
            "https://agent.example.org:444/",
            "//other.org/",
            "file:///x",
        ] {
            assert_eq!(place(elsewhere), None, "{elsewhere}");
        }
    }
}
