//! Bytes no row names any more are removed, and nothing else.

use bytes::Bytes;
use chrono::TimeDelta;
use scheduler::objects::{Folder, Objects};
use scheduler::retention;
use store::artefacts::Artefact;
use store::run_tx;
use store::runs::NewRun;

use crate::desk::Bench;

async fn put(objects: &Objects, text: &'static str) -> String {
    let name = const_hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref());
    let mut writer = objects.writer(Folder::Artefacts, &name, 1000).await.unwrap();
    writer.write(&Bytes::from_static(text.as_bytes())).unwrap();
    writer.finish().await.unwrap();
    name
}

#[tokio::test]
async fn bytes_that_no_row_names_are_removed_when_they_are_old() {
    let bench = Bench::new().await;
    let objects = Objects::open(&bench.desk.config.objects.dir).await.unwrap();
    let (named, orphan) = (put(&objects, "named").await, put(&objects, "orphan").await);
    let (_external, contract) = bench.contract().await;
    let run = NewRun {
        agent: "demo".to_owned(),
        kind: domain::run::Kind::Work,
        contract_id: Some(contract),
        gig_id: None,
        natural_key: "work".to_owned(),
        version: "v1".to_owned(),
        revision_no: 0,
        priority: 0,
        max_attempts: 3,
        deadline: None,
        timeout: std::time::Duration::from_secs(60),
        budget_micro: 0,
        request: None,
        traceparent: None,
    };
    let artefact = Artefact {
        name: "answer.txt".to_owned(),
        sha256: named.clone(),
        bytes: 5,
        media_type: "text/plain".to_owned(),
        url: None,
        secret: None,
    };
    run_tx!(bench.desk.store, "fixture", |tx| {
        let run = store::runs::insert(tx, &run).await?;
        store::artefacts::put(tx, run, 1, &artefact).await
    })
    .unwrap();
    let there = async |name: &str| objects.size(Folder::Artefacts, name).await.unwrap().is_some();
    retention::bytes(&bench.desk, &objects, retention::ORPHANED)
        .await
        .unwrap();
    assert!(there(&orphan).await, "it may be about to get its row");
    // An age in the future: everything is old.
    retention::bytes(&bench.desk, &objects, TimeDelta::hours(-1))
        .await
        .unwrap();
    assert!(there(&named).await);
    assert!(!there(&orphan).await);
    put(&objects, "orphan").await;
    assert!(there(&orphan).await, "what was removed can be put again");
}
