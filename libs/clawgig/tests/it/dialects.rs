//! The client understands every dialect of the simulator: the whole life of a contract in each.

use clawgig::client::{RotatePath, WithdrawForm};
use clawgig::wire::contract::{Attachment, AttachmentForm, NewMessage, Upload};
use clawgig::wire::gig::GigSearch;
use clawgig::wire::webhook::DeliveryFilter;
use clawgig::{Collector, ContractStatus, Data, Error, Event, Family, ProposalStatus};
use outbound::Method;
use serde_json::{Value, json};
use simulator::Dialect;

use crate::stage::{Stage, delivery, proposal};

/// Lives of a contract in the dialect that words each answer anew.
const HOSTILE_LIVES: u32 = 25;

impl Stage {
    /// Everything an agent does in one contract's life; answers the contract.
    async fn live(&self, name: &str) -> String {
        let client = &self.client;
        let contract = self.contract(true).await;
        let status = self.status(&contract).await;
        assert!(status.is_funded(), "{status:?}");
        let upload = Upload {
            name: format!("{name}.csv"),
            mime: "text/csv".to_owned(),
            bytes: "a,b\n1,2\n".into(),
            bucket: "attachments".to_owned(),
            contract_id: Some(contract.clone()),
        };
        let file = Attachment {
            url: client.upload(&upload).await.unwrap().value.url,
            name: upload.name.clone(),
            mime: upload.mime.clone(),
            size: 8,
        };
        let work = delivery(vec![file]);
        let mut done = client.deliver(&contract, &work, AttachmentForm::Objects).await;
        if let Err(Error::AttachmentsAsUrls(_)) = done {
            done = client.deliver(&contract, &work, AttachmentForm::Urls).await;
        }
        assert_eq!(done.unwrap().value.status, ContractStatus::Delivered);
        let message = NewMessage {
            content: format!("{name} is done."),
            attachment: None,
        };
        client.send_message(&contract, &message).await.unwrap();
        let thread = client.list_messages_page(&contract, 0).await.unwrap().value;
        assert!(thread.items.iter().any(|one| one.content == message.content));
        self.ask(Method::POST, &format!("/contracts/{contract}/approve"), json!({}))
            .await;
        assert_eq!(self.status(&contract).await.status, ContractStatus::Approved);
        contract
    }

    async fn status(&self, contract: &str) -> clawgig::wire::contract::Contract {
        let mut collector = Collector::default();
        while let Some(offset) = collector.next_offset() {
            collector.add(self.client.list_contracts_page(None, offset).await.unwrap().value);
        }
        let all = collector.finish().unwrap();
        let found = all.into_iter().find(|one| one.id == contract);
        found.unwrap()
    }

    /// Two proposals, the second withdrawn in whichever form the dialect has.
    async fn bid_and_withdraw(&self) {
        let posted = self.ask(Method::POST, "/gigs", json!({})).await;
        let gig = posted["gig_ids"][0].as_str().unwrap();
        let made = self.client.submit_proposal(gig, &proposal()).await.unwrap().value;
        let by = |form| self.client.withdraw_proposal(gig, &made.id, form);
        if let Err(error) = by(WithdrawForm::Path).await {
            assert!(error.is_unknown_path(), "{error}");
            by(WithdrawForm::Query).await.unwrap();
        }
        let seen = self.client.proposal(&made.id).await.unwrap().value;
        assert_eq!(seen.status, ProposalStatus::Withdrawn);
    }

    async fn rotate(&self) {
        let mut path = RotatePath::Family;
        loop {
            match self.client.rotate_secret(path).await {
                Ok(_) => return,
                Err(error) => {
                    assert!(error.is_unknown_path(), "{error}");
                    path = path.next().unwrap();
                }
            }
        }
    }
}

async fn lives(dialect: Dialect, family: Family, times: u32) {
    let stage = Stage::speaking(dialect).await;
    assert_eq!(stage.client.family(), Some(family), "{dialect}");
    assert!(!stage.client.readiness().await.unwrap().value.ready);
    stage.get_ready().await;
    assert!(stage.client.readiness().await.unwrap().value.ready);
    for life in 0..times {
        let name = format!("file-{life}");
        stage.live(&name).await;
        stage.bid_and_withdraw().await;
        stage.rotate().await;
        assert_eq!(stage.client.profile().await.unwrap().value.name, "Demo agent");
        let search = GigSearch::default();
        let gigs = stage.client.search_gigs_page(&search).await.unwrap().value;
        assert!(gigs.items.iter().all(|gig| gig.budget_micro.is_some()) && gigs.skipped == 0);
    }
    let log = stage.client.list_deliveries_page(&DeliveryFilter::default()).await;
    let log = log.unwrap().value;
    assert!(!log.items.is_empty() && log.skipped == 0);
    let report = stage.ask(Method::GET, "/report", Value::Null).await;
    assert_eq!(
        (&report["approved"], &report["delivered_twice"]),
        (&json!(times), &json!(0))
    );
    assert_eq!(report["etiquette_breaches_total"], json!(0), "{report}");
}

#[tokio::test]
async fn a_contract_lives_in_the_words_of_the_documentation() {
    lives(Dialect::Docs, Family::AgentsMe, 1).await;
}

#[tokio::test]
async fn a_contract_lives_in_the_words_of_the_sdk() {
    lives(Dialect::Sdk, Family::AgentsMe, 2).await;
}

#[tokio::test]
async fn a_contract_lives_in_the_words_of_the_first_documentation() {
    lives(Dialect::Legacy, Family::AgentsMe, 2).await;
}

#[tokio::test]
async fn contracts_live_whatever_words_are_chosen() {
    lives(Dialect::Hostile, Family::Agent, HOSTILE_LIVES).await;
}

#[tokio::test]
async fn every_logged_webhook_of_the_hostile_dialect_is_an_event() {
    let stage = Stage::speaking(Dialect::Hostile).await;
    stage.get_ready().await;
    let mut about = 0;
    for _ in 0..10 {
        stage.live("x").await;
    }
    let mut collector = Collector::default();
    while let Some(offset) = collector.next_offset() {
        let filter = DeliveryFilter {
            offset,
            ..DeliveryFilter::default()
        };
        collector.add(stage.client.list_deliveries_page(&filter).await.unwrap().value);
    }
    for entry in collector.finish().unwrap() {
        let event = Event::parse(&entry.payload.unwrap()).unwrap();
        match event.data {
            Data::Unknown { .. } => assert_eq!(event.name, "payment.received"),
            Data::GigPosted(gig) => assert!(gig.budget_micro.is_some() && !gig.title.is_empty()),
            Data::ContractFunded(news) => {
                assert!(news.amount_micro.is_some() && news.gig_title.is_some());
                about += 1;
            }
            _ => {}
        }
    }
    assert_eq!(about, 10);
}
