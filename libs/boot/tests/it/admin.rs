//! The admin port, from outside.

use boot::Exit;

use crate::support::{Running, env};

async fn waits(context: boot::Context<crate::support::Config>) -> anyhow::Result<()> {
    context.soft.cancelled().await;
    Ok(())
}

#[tokio::test]
async fn a_process_is_live_at_once_and_ready_only_while_every_latch_is_open() {
    let running = Running::start(env(&[]), waits).await;
    let streams = running.context.readiness.latch("streams");
    assert_eq!(running.ask("GET", "/live", "").await.0, 200);
    let (status, body) = running.ask("GET", "/ready", "").await;
    assert_eq!(
        (status, body.as_str()),
        (503, r#"{"ready":false,"closed":["service","streams"]}"#)
    );

    running.context.ready();
    let (status, body) = running.ask("GET", "/ready", "").await;
    assert_eq!(
        (status, body.as_str()),
        (503, r#"{"ready":false,"closed":["streams"]}"#)
    );
    streams.open();
    let (status, body) = running.ask("GET", "/ready", "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"ready":true,"closed":[]}"#));
    streams.close();
    assert_eq!(running.ask("GET", "/ready", "").await.0, 503, "a latch can close again");

    running.stop.ask();
    assert_eq!(running.exit().await, Exit::Clean);
}

#[tokio::test]
async fn build_names_the_commit() {
    let running = Running::start(env(&[]), waits).await;
    let (status, body) = running.ask("GET", "/build", "").await;
    let build: serde_json::Value = serde_json::from_str(&body).unwrap();
    let known = boot::build_info!().info("sample");
    assert_eq!(status, 200);
    assert_eq!(build, serde_json::to_value(&known).unwrap());
    assert_eq!(
        (build["service"].as_str(), build["version"].as_str()),
        (Some("sample"), Some("0.1.0"))
    );
    let sha = known.git_sha.as_str();
    assert!(
        sha == "unknown" || (sha.len() >= 7 && sha.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{sha}"
    );
    running.stop.ask();
    assert_eq!(running.exit().await, Exit::Clean);
}

#[tokio::test]
async fn build_tells_what_the_service_found_out_besides() {
    let running = Running::start(env(&[]), waits).await;
    running.context.facts.add("isolation", "landlock");
    let (status, body) = running.ask("GET", "/build", "").await;
    let build: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        (&build["service"], &build["isolation"]),
        (&"sample".into(), &"landlock".into())
    );
    running.stop.ask();
    assert_eq!(running.exit().await, Exit::Clean);
}

#[tokio::test]
async fn metrics_say_what_is_running_and_for_how_long() {
    let running = Running::start(env(&[]), waits).await;
    let (status, text) = running.ask("GET", "/metrics", "").await;
    assert_eq!(status, 200);
    let build = text
        .lines()
        .find(|line| line.starts_with("steward_build_info{"))
        .unwrap();
    assert!(
        build.contains(r#"service="sample""#) && build.contains("git_sha=") && build.ends_with(" 1"),
        "{build}"
    );
    let uptime = text
        .lines()
        .find_map(|line| line.strip_prefix("steward_uptime_seconds "))
        .unwrap();
    assert!(uptime.parse::<f64>().unwrap() > 0.0, "{uptime}");
    running.stop.ask();
    assert_eq!(running.exit().await, Exit::Clean);
}

#[tokio::test]
async fn the_log_filter_can_be_changed_while_running_but_not_to_nonsense() {
    let running = Running::start(env(&[]), waits).await;
    assert_eq!(running.ask("PUT", "/log-filter", "off,sample=error").await.0, 204);
    let (_, filter) = running.ask("GET", "/log-filter", "").await;
    assert!(filter.contains("sample=error"), "{filter}");
    let (status, body) = running.ask("PUT", "/log-filter", "sample=loud").await;
    assert!(status == 400 && body.contains("sample=loud"), "{status} {body}");
    assert_eq!(running.ask("PUT", "/log-filter", &"x".repeat(10_000)).await.0, 413);
    assert_eq!(
        running.ask("GET", "/log-filter", "").await.1,
        filter,
        "the old one stays"
    );
    running.stop.ask();
    assert_eq!(running.exit().await, Exit::Clean);
}
