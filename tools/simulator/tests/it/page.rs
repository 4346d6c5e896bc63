//! The page at `/`, as a browser uses it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::stage::Stage;

async fn page(stage: &Stage, path: &str) -> String {
    let answer = stage.client.get(format!("{}{path}", stage.url)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'"));
    answer.text().await.unwrap()
}

/// Sends a form, follows it to the page, and returns that.
async fn form(stage: &Stage, fields: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, text) in fields {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        body.push_str(&format!("{name}={encoded}&"));
    }
    let answer = stage
        .client
        .post(format!("{}/act", stage.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", &stage.url)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.text().await.unwrap()
}

#[tokio::test]
async fn a_contract_is_led_by_hand_from_posting_to_review() {
    let stage = Stage::set().await;
    let fields = [
        ("act", "post"),
        ("title", "Rename photos"),
        ("budget_usdc", "12.5"),
        ("category", "code"),
    ];
    let shown = form(&stage, &fields).await;
    assert!(shown.contains("Rename photos") && shown.contains("12.5"), "{shown}");
    let gigs = stage.control(Method::GET, "/gigs", Value::Null).await.body;
    let gig = gigs["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(stage.propose(&gig, json!(12)).await.status, 201);
    let shown = page(&stage, "/").await;
    assert!(
        shown.contains("demo 12 (pending)") && shown.contains("href=\"/page.css\""),
        "{shown}"
    );
    let style = stage
        .client
        .get(format!("{}/page.css", stage.url))
        .send()
        .await
        .unwrap();
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    form(&stage, &[("act", "accept"), ("of", &gig)]).await;
    let contracts = stage.control(Method::GET, "/contracts", Value::Null).await.body;
    let contract = contracts["data"][0]["id"].as_str().unwrap().to_owned();
    form(&stage, &[("act", "fund"), ("of", &contract)]).await;
    let shown = form(
        &stage,
        &[("act", "message"), ("of", &contract), ("text", "Hello & good day")],
    )
    .await;
    assert!(shown.contains("1 messages"), "{shown}");
    stage.deliver(&contract).await;
    form(&stage, &[("act", "revise"), ("of", &contract), ("text", "Shorter")]).await;
    stage.deliver(&contract).await;
    form(&stage, &[("act", "dispute"), ("of", &contract)]).await;
    form(&stage, &[("act", "resolve_approved"), ("of", &contract)]).await;
    form(&stage, &[("act", "review"), ("of", &contract), ("text", "Good")]).await;
    let path = format!("/contracts/{contract}");
    let detail = stage.control(Method::GET, &path, Value::Null).await.body;
    assert_eq!(
        (&detail["status"], &detail["review"]["rating"]),
        (&json!("approved"), &json!(5))
    );
    assert_eq!(detail["messages"][0]["content"], "Hello & good day");
}

#[tokio::test]
async fn what_others_wrote_is_shown_as_text_and_never_as_markup() {
    let stage = Stage::set().await;
    let script = "<script>alert('x')</script>\"><img src=x>";
    stage.gig(json!({"title": script})).await;
    let told = form(&stage, &[("act", "<b>nothing</b>")]).await;
    assert!(!told.contains("<b>nothing"), "{told}");
    assert!(told.contains("there is no act"), "{told}");
    let shown = page(&stage, "/?refused=%3Cscript%3E").await;
    assert!(!shown.contains("<script>") && !shown.contains("<img"), "{shown}");
    assert!(shown.contains("alert("));
}

#[tokio::test]
async fn faults_dialects_and_accounts_are_changed_by_hand() {
    let stage = Stage::set().await;
    let fault = r#"[{"on": "deliver", "kind": "http_500", "count": 1}]"#;
    assert!(
        form(&stage, &[("act", "faults"), ("faults", fault)])
            .await
            .contains("http_500")
    );
    assert!(
        form(&stage, &[("act", "faults"), ("faults", "[{}]")])
            .await
            .contains("faults not changed")
    );
    assert!(
        form(&stage, &[("act", "dialect"), ("dialect", "sdk")])
            .await
            .contains("dialect sdk")
    );
    assert!(
        form(&stage, &[("act", "suspend"), ("of", "demo")])
            .await
            .contains("suspended")
    );
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let stage = Stage::set().await;
    for path in ["/act", "/control/gigs", "/control/reset"] {
        let answer = stage
            .client
            .post(format!("{}{path}", stage.url))
            .header("origin", "https://evil.example")
            .header("content-type", "text/plain")
            .body("{}")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(stage.report().await["gigs"], 0);
}

#[tokio::test]
async fn an_agent_is_claimed_at_its_link_by_a_button_and_not_by_looking() {
    let mut stage = Stage::empty(simulator::Options::local()).await;
    let registered = stage.register("novice").await.body;
    let link = registered["claim_url"].as_str().unwrap().to_owned();
    let path = link.strip_prefix(&stage.url).unwrap();
    let verify = stage.api(
        Method::POST,
        "/agents/me/verify-email",
        json!({"email": "a@example.org"}),
    );
    assert_eq!(verify.await.status, 200);
    let agents = stage.control(Method::GET, "/agents", Value::Null).await.body;
    let code = agents["data"][0]["email_code"].as_str().unwrap();
    let shown = page(&stage, "/").await;
    assert!(
        shown.contains(&format!("e-mail code {code}")) && shown.contains(&format!("href=\"{path}\"")),
        "{shown}"
    );

    for _ in 0..2 {
        let shown = page(&stage, path).await;
        assert!(shown.contains("Claim novice</button>"), "{shown}");
    }
    let elsewhere = stage
        .client
        .post(&link)
        .header("origin", "https://evil.example")
        .send()
        .await;
    assert_eq!(elsewhere.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(stage.get("/agents/me").await.body["is_claimed"], false);
    let claimed = stage
        .client
        .post(&link)
        .header("origin", &stage.url)
        .send()
        .await
        .unwrap();
    let claimed = claimed.text().await.unwrap();
    assert!(
        claimed.contains("is claimed") && !claimed.contains("<button>"),
        "{claimed}"
    );
    assert_eq!(stage.get("/agents/me").await.body["is_claimed"], true);
    assert!(!page(&stage, "/").await.contains("claim link"));

    let other = stage
        .client
        .get(format!("{}/dashboard/agents/claim/nobodys", stage.url));
    assert_eq!(other.send().await.unwrap().status(), StatusCode::NOT_FOUND);
}
