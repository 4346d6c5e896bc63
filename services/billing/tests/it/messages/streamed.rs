//! The same as streams: the order of the last event and the books, and what a broken one says.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;

use super::{CACHED, COST, PATH, READ, WRITTEN, counted, message, streamed};
use crate::stack::{SOON, Stack};

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

/// The events of a stream: 60 tokens read, 40 from the cache, 20 written.
fn events() -> Vec<String> {
    [
        json!({"type": "message_start", "message": message(&counted(60, 0, 0, 40, 1))}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}}),
        json!({"type": "message_stop"}),
    ]
    .iter()
    .map(event)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_messages_passes_to_the_byte_and_ends_when_the_books_are_written() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &["claude-*"]).await;
    stack.provider.streams(&events(), false);
    // For two seconds, whoever wants to write a usage row waits for us.
    let lock = "BEGIN; LOCK TABLE billing.usage IN SHARE MODE; SELECT pg_sleep(2); COMMIT";
    let locking = async {
        stack.execute(lock).await;
        Instant::now()
    };
    let calling = async {
        let locked = "SELECT 1 AS one FROM pg_locks WHERE mode = 'ShareLock' AND relation = 'billing.usage'::regclass";
        let begun = || async { !stack.rows(locked).await.is_empty() };
        eventually(SOON, "the lock", begun).await.unwrap();
        let mut got = stack.post(&run, PATH, &[], streamed().to_string()).await;
        assert_eq!(got.headers()["content-type"], "text/event-stream");
        let mut text = String::new();
        while !text.contains("message_delta") {
            text += &String::from_utf8_lossy(&got.chunk().await.unwrap().unwrap());
        }
        let usage_came = Instant::now();
        assert!(!text.contains("message_stop"));
        while let Some(piece) = got.chunk().await.unwrap() {
            text += &String::from_utf8_lossy(&piece);
        }
        (text, usage_came, Instant::now(), stack.count("billing.usage").await)
    };
    let (unlocked, (text, usage_came, end_came, rows)) = tokio::join!(locking, calling);
    assert_eq!(text, events().concat());
    assert!(usage_came < unlocked, "what is not the end is passed on at once");
    // The lock ends a moment before we hear of it.
    assert!(
        end_came + Duration::from_millis(500) > unlocked,
        "the end came before the books were written"
    );
    assert_eq!(rows, 1);
    let row = &stack.usage(&run, 1).await[0];
    assert_eq!((row.cost_pico_usd, row.flags.len()), (COST, 0));
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_counts_of_a_stream_replace_earlier_ones() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &["claude-*"]).await;
    let mut sent = events();
    let usage = json!({"input_tokens": 50, "cache_read_input_tokens": 10, "output_tokens": 30});
    sent[5] = event(&json!({"type": "message_delta", "delta": {}, "usage": usage}));
    stack.provider.streams(&sent, false);
    let got = stack.post(&run, PATH, &[], streamed().to_string()).await;
    assert_eq!(got.text().await.unwrap(), sent.concat());
    assert_eq!(
        stack.usage(&run, 1).await[0].cost_pico_usd,
        50 * READ + 10 * CACHED + 30 * WRITTEN
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_says_so_in_its_own_words_and_charges_the_hold() {
    let stack = Stack::start().await;
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    for (sent, breaks) in [
        (events()[..4].to_vec(), true),
        (events()[..5].to_vec(), false),
        ([&events()[..2], &[event(&overloaded)]].concat(), false),
    ] {
        let run = stack.open(10_000, &["claude-*"]).await;
        stack.provider.streams(&sent, breaks);
        let got = stack.post(&run, PATH, &[], streamed().to_string()).await;
        assert_eq!(got.status(), StatusCode::OK);
        let text = got.text().await.unwrap();
        let last = text.strip_prefix(&sent.concat()).unwrap();
        let data = last.strip_prefix("event: error\ndata: ").unwrap();
        let told: Value = serde_json::from_str(data).unwrap();
        assert_eq!(
            (&told["type"], &told["error"]["code"]),
            (&json!("error"), &json!("upstream_cut"))
        );
        assert!(!text.contains("message_stop"));
        let row = &stack.usage(&run, 1).await[0];
        assert_eq!(row.flags, ["usage_lost"]);
        assert!(row.cost_pico_usd > 100 * WRITTEN);
    }
    stack.assert_books().await;
}
