//! The simplest agent there is: bids on everything, delivers everything that is paid.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::Stage;

/// A look at the market: bids on every open gig it has not bid on, delivers every funded contract. It looks through the
/// control surface, which speaks no dialect.
pub async fn work(stage: &Stage) {
    let gigs = stage.control(Method::GET, "/gigs?status=open", Value::Null).await.body;
    for gig in gigs["data"].as_array().unwrap() {
        let seen = gig["moderation_status"] == "approved" && gig["proposals"] == json!([]);
        if seen {
            let _ = stage
                .propose(gig["id"].as_str().unwrap(), gig["budget_usdc"].clone())
                .await;
        }
    }
    let contracts = stage
        .control(Method::GET, "/contracts?status=funded", Value::Null)
        .await
        .body;
    for contract in contracts["data"].as_array().unwrap() {
        let path = format!("/contracts/{}/deliver", contract["id"].as_str().unwrap());
        // A fault may cut the connection: the next look tells whether it counted.
        let _ = stage
            .try_api(Method::POST, &path, json!({"delivery_notes": "Done"}))
            .await;
    }
}
