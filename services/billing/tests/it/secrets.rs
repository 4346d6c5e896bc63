//! Secrets of agents' own, as the operator handles them and the database keeps them.

use rpc::v1;

use crate::ext::{Bench, KEY, set};

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_listed_without_values_kept_sealed_and_set_by_the_operator_alone() {
    let bench = Bench::new(&[]).await;
    for wrong in ["tiny-value", "two\nlines-0123456789"] {
        let refused = set(&bench.stack, "demo", "search-api", wrong).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(!refused.message().contains(wrong));
    }
    assert!(set(&bench.stack, "demo", "No_Slug", KEY).await.is_err());
    let asked = v1::SetSecretRequest {
        agent: "demo".to_owned(),
        name: "search-api".to_owned(),
        value: KEY.to_owned(),
    };
    for mut other in [bench.stack.viewer.clone(), bench.stack.scheduler.clone()] {
        assert!(other.set_secret(asked.clone()).await.is_err());
    }
    bench.set(KEY).await;
    bench.set("a-newer-value-of-the-key").await;
    let listed = bench.stack.viewer.clone();
    let listed = listed
        .clone()
        .list_secrets(v1::ListSecretsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.secrets.len(), 1);
    assert_eq!(
        (listed.secrets[0].agent.as_str(), listed.secrets[0].name.as_str()),
        ("demo", "search-api")
    );
    for table in [
        "billing.agent_secrets",
        "steward.known_secrets",
        "scheduler.audit",
        "billing.run_accounts",
    ] {
        let rows = bench
            .stack
            .rows(&format!("SELECT kept::TEXT AS row FROM {table} AS kept"))
            .await;
        let text = serde_json::to_string(&rows).unwrap();
        for value in [KEY, "a-newer-value-of-the-key"] {
            assert!(
                !text.contains(value) && !text.contains(&const_hex::encode(value)),
                "{table}"
            );
        }
    }
    let audit = bench
        .stack
        .rows("SELECT actor, action, subject FROM scheduler.audit")
        .await;
    assert_eq!(audit.len(), 2);
    assert_eq!(audit[0]["subject"], "demo/search-api");
    // Both are looked for in what goes out: the older one for a while.
    let known = "SELECT forget_at IS NULL AS stays FROM steward.known_secrets WHERE kind = 'agent' ORDER BY seq";
    let known = bench.stack.rows(known).await;
    assert_eq!(
        known
            .iter()
            .map(|row| row["stays"].as_bool().unwrap())
            .collect::<Vec<_>>(),
        [false, true]
    );
    let providers = bench
        .stack
        .rows("SELECT owner FROM steward.known_secrets WHERE kind = 'provider' ORDER BY 1")
        .await;
    assert_eq!(providers.len(), 2, "{providers:?}");
}
