//! What pages show, and that nobody else's text can do anything there.

use rpc::v1;
use testkit::eventually;

use crate::harness::{SOON, Stack};
use crate::{hostile, sample};

const HOSTILE: &str = "\"><script>alert('x')</script><img src=x onerror=alert(1)>\u{202e}gpj\r\nevent: page";

#[tokio::test]
async fn hostile_texts_are_only_ever_text() {
    let stack = Stack::start().await;
    sample::fill(&stack.world);
    hostile::replace_every_text(&stack.world, HOSTILE);
    let browser = stack.sign_in().await;
    let looked_behind = || async { browser.page("/").await.contains("/drop\"") };
    eventually(SOON, "the details of what waits", looked_behind)
        .await
        .unwrap();
    for path in [
        "/",
        "/contracts",
        "/contracts/c-0001",
        "/runs",
        "/runs/r-0001",
        "/gigs",
        "/gigs/g-0001",
        "/system",
    ] {
        let page = browser.page(path).await;
        assert!(page.contains("&#60;script&#62;"), "{path} shows the text");
        for harm in ["<script>", "<img src=x", "\u{202e}", "\r"] {
            assert!(!page.contains(harm), "{path} holds {harm:?}: {page}");
        }
    }
    let mut stream = browser.get("/live").await;
    let chunk = stream.chunk().await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&chunk).into_owned();
    assert!(
        text.lines()
            .skip(1)
            .all(|line| line.is_empty() || line.starts_with("data: ")),
        "{text}"
    );
}

#[tokio::test]
async fn hostile_addresses_are_not_found() {
    let stack = Stack::start().await;
    let browser = stack.sign_in().await;
    for path in [
        "/contracts/%3Cscript%3E",
        "/runs/..%2F..%2Fx",
        "/contracts?state=%22%3E%3Cscript%3E&cursor=%00",
    ] {
        let answer = browser.get(path).await;
        let text = answer.text().await.unwrap();
        assert!(!text.contains("<script>"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_long_text_is_folded_and_there_in_full() {
    let stack = Stack::start().await;
    sample::fill(&stack.world);
    let long = "All work and no play. ".repeat(500);
    if let Some(detail) = stack.world.data().contracts.get_mut("c-0001") {
        detail.messages[0].text = long.clone();
    }
    let page = stack.sign_in().await.page("/contracts/c-0001").await;
    assert!(page.contains("<details class=\"long\">"));
    assert!(page.contains(long.trim_end()));
}

#[tokio::test]
async fn the_first_page_tells_the_money_the_risk_and_the_stack() {
    let often = std::time::Duration::from_secs(1);
    let stack = Stack::start_with(|config| config.billing.check_every = often).await;
    sample::fill(&stack.world);
    let browser = stack.sign_in().await;
    let all = || async {
        let page = browser.page("/").await;
        let there = ["balanced", "settled contract"].iter().all(|text| page.contains(text));
        there.then_some(page)
    };
    let page = eventually(SOON, "the books", all).await.unwrap();
    for text in [
        "1,234.50",
        "At risk",
        "Waiting for you",
        "/contracts?state=revision_requested",
        "4 slots free",
        "data-count=\"4\"",
        "Last seven days",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[tokio::test]
async fn a_listing_goes_on_where_it_ended() {
    let stack = Stack::start().await;
    sample::fill(&stack.world);
    let browser = stack.sign_in().await;
    let page = browser.page("/contracts?state=funded").await;
    assert!(
        page.contains("href=\"/contracts?state=funded&#38;cursor=next%26page\""),
        "{page}"
    );
    browser.page("/contracts?state=funded&cursor=next%26page").await;
    assert_eq!(
        stack.world.calls("list_contracts"),
        ["list_contracts funded ", "list_contracts funded next&page"]
    );
}

#[tokio::test]
async fn states_and_kinds_of_a_newer_release_are_shown_as_they_are() {
    let stack = Stack::start().await;
    stack.world.overview(|overview| {
        overview.waiting = vec![v1::WaitingItem {
            kind: "brand_new".to_owned(),
            text: "something else".to_owned(),
            ..Default::default()
        }];
        overview.contracts = vec![v1::StateCount {
            state: "newly_invented".to_owned(),
            count: 1,
            amount_micro_usdc: -1,
        }];
    });
    let browser = stack.sign_in().await;
    let shown = || async { browser.page("/").await.contains("brand new") };
    eventually(SOON, "the new kind", shown).await.unwrap();
    assert!(browser.page("/").await.contains("newly invented"));
}

#[tokio::test]
async fn gigs_are_listed_with_agent_score_price_and_reason() {
    let stack = Stack::start().await;
    sample::fill(&stack.world);
    let gig = v1::Gig {
        id: "g-0009".to_owned(),
        agent: "night-shift".to_owned(),
        title: "Sort my mail".to_owned(),
        proposal_state: "skipped".to_owned(),
        score_permille: 950,
        proposed_micro_usdc: 12_500_000,
        reason: "no skill of ours".to_owned(),
        ..Default::default()
    };
    stack.world.data().gigs.insert(gig.id.clone(), gig);
    let browser = stack.sign_in().await;
    let page = browser.page("/gigs?state=skipped").await;
    for text in [
        "/gigs/g-0009",
        "night-shift",
        "Sort my mail",
        "0.95",
        "12.50",
        "no skill of ours",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[tokio::test]
async fn a_file_is_saved_never_shown_and_only_for_whoever_signed_in() {
    let stack = Stack::start().await;
    sample::fill(&stack.world);
    let html = b"<script>alert(1)</script>".to_vec();
    stack
        .world
        .data()
        .files
        .insert("deep/a&b.html".to_owned(), html.clone());
    let file = v1::Artefact {
        name: "deep/a&b.html".to_owned(),
        bytes: 25,
        ..Default::default()
    };
    if let Some(held) = stack.world.data().held.first_mut() {
        held.run_id = "r-0001".to_owned();
        held.files = vec![file];
    }
    let path = "/runs/r-0001/file?name=deep%2Fa%26b.html";
    let stranger = stack.get(path).await;
    assert_ne!(stranger.status(), 200);
    assert!(stack.world.calls("get_artefact").is_empty(), "nobody was asked for it");
    let browser = stack.sign_in().await;
    let linked = || async { browser.page("/").await.contains(&format!("href=\"{path}\"")) };
    eventually(SOON, "a link beside the approval", linked).await.unwrap();
    let answer = browser.get(path).await;
    assert_eq!(answer.status(), 200);
    for (name, value) in [
        ("content-disposition", "attachment; filename=\"a_b.html\""),
        ("content-type", "application/octet-stream"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
    assert_eq!(answer.bytes().await.unwrap(), html);
    assert_eq!(browser.get("/runs/r-0001/file?name=other").await.status(), 404);
}
