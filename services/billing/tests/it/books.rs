//! Usage becomes postings, contracts are settled once, and every figure can be explained.

use axum::http::StatusCode;
use rpc::{error::reason, v1};
use testkit::eventually;
use tonic::Code;
use uuid::Uuid;

use crate::{
    provider::completion,
    stack::{MICRO, Run, SOON, Stack, question},
};

fn settling(contract: Uuid, amount: i64, fee: i64) -> v1::SettleRequest {
    v1::SettleRequest {
        contract_id: contract.to_string(),
        agent: "demo".to_owned(),
        agent_version: "sha-1".to_owned(),
        amount_micro_usdc: amount,
        fee_micro_usdc: fee,
        description: "a logo".to_owned(),
    }
}

impl Stack {
    async fn settle(&self, asked: v1::SettleRequest) -> Result<v1::Settlement, tonic::Status> {
        self.scheduler
            .clone()
            .settle(asked)
            .await
            .map(tonic::Response::into_inner)
    }

    /// A call that costs exactly this, in units of 0.15 micro-dollars.
    async fn spend(&self, run: &Run, tokens: u64) {
        self.provider
            .answers_json(StatusCode::OK, &completion("gpt-4o-mini", tokens, 0, 0));
        assert_eq!(self.chat(run, &question("gpt-4o-mini")).await.status(), StatusCode::OK);
    }

    async fn account(&self, name: &str) -> Option<v1::ExplainAccountResponse> {
        let asked = v1::ExplainAccountRequest {
            account: name.to_owned(),
            page: None,
        };
        self.viewer
            .clone()
            .explain_account(asked)
            .await
            .ok()
            .map(tonic::Response::into_inner)
    }

    async fn balance_of(&self, name: &str) -> i64 {
        self.account(name).await.map_or(0, |account| account.balance_micro)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_settled_once_and_a_repeat_says_the_same() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    stack.spend(&run, 1_000).await;
    let asked = settling(run.subject, 50 * MICRO, 5 * MICRO);
    let first = stack.settle(asked.clone()).await.unwrap();
    assert_eq!(
        (
            first.revenue_micro_usdc,
            first.fee_micro_usdc,
            first.cost_micro_usd,
            first.profit_micro_usd
        ),
        (50 * MICRO, 5 * MICRO, 150, 45 * MICRO - 150)
    );
    assert!(!first.duplicate);
    let again = stack.settle(asked.clone()).await.unwrap();
    assert_eq!(
        again,
        v1::Settlement {
            duplicate: true,
            ..first
        }
    );
    for other in [
        settling(run.subject, 50 * MICRO, 4 * MICRO),
        settling(run.subject, 51 * MICRO, 5 * MICRO),
    ] {
        let refused = stack.settle(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert_eq!(reason(&refused).as_deref(), Some("SETTLED_DIFFERENTLY"));
    }
    assert_eq!(stack.balance_of("agent/demo/revenue").await, -50 * MICRO);
    assert_eq!(stack.balance_of("agent/demo/platform_fees").await, 5 * MICRO);
    assert_eq!(stack.balance_of("agent/demo/receivable").await, 45 * MICRO);
    assert_eq!(stack.balance_of("agent/demo/model_cost").await, 150);
    assert_eq!(stack.balance_of("provider/openai/payable").await, -150);
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_settlements_of_one_contract_at_once_book_one() {
    let stack = Stack::start().await;
    let contract = Uuid::now_v7();
    let all = (0..10).map(|_| stack.settle(settling(contract, 3 * MICRO, 0)));
    let answers: Vec<_> = futures_util::future::join_all(all)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
    assert_eq!(stack.balance_of("agent/demo/revenue").await, -3 * MICRO);
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_that_cannot_be_are_refused() {
    let stack = Stack::start().await;
    for (amount, fee) in [(-1, 0), (1, -1), (1, 2), (i64::MIN, 0), (0, i64::MIN)] {
        let refused = stack.settle(settling(Uuid::now_v7(), amount, fee)).await.unwrap_err();
        assert_eq!(reason(&refused).as_deref(), Some("BAD_AMOUNTS"), "{amount} {fee}");
    }
    // A contract worth nothing is settled all the same.
    assert!(!stack.settle(settling(Uuid::now_v7(), 0, 0)).await.unwrap().duplicate);
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_less_than_a_micro_dollar_is_carried_and_never_lost() {
    let stack = Stack::start().await;
    let subject = Uuid::now_v7();
    // Seven runs of 0.15 micro-dollars: 1.05 in all.
    for number in 1..=7_i64 {
        let run = stack.open_for(Uuid::now_v7(), subject, 10_000, &[]).await;
        stack.spend(&run, 1).await;
        assert_eq!(stack.close(&run).await, 0, "a run alone is less than a micro-dollar");
        assert_eq!(stack.balance_of("agent/demo/model_cost").await, number * 15 / 100);
        stack.assert_books().await;
    }
    let costs = v1::SubjectCostsRequest {
        subject_ids: vec![subject.to_string(), Uuid::nil().to_string()],
    };
    let costs = stack
        .scheduler
        .clone()
        .subject_costs(costs)
        .await
        .unwrap()
        .into_inner()
        .costs;
    assert_eq!(costs.iter().map(|cost| cost.cost_micro_usd).collect::<Vec<_>>(), [1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_run_posts_its_cost_once() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    stack.spend(&run, 1_000).await;
    assert!(
        stack.account("agent/demo/model_cost").await.is_none(),
        "nothing is posted while it may grow"
    );
    for _ in 0..2 {
        assert_eq!(stack.close(&run).await, 150);
    }
    let account = stack.account("agent/demo/model_cost").await.unwrap();
    assert_eq!(account.postings.len(), 1);
    let posting = &account.postings[0];
    assert_eq!(
        (posting.amount_micro, posting.run_id.as_str()),
        (150, run.id.to_string().as_str())
    );
    assert_eq!(posting.subject_id, run.subject.to_string());
    let booked = stack.rows("SELECT agent_version FROM billing.transactions").await;
    assert_eq!(booked[0]["agent_version"], "sha-1");
    // A run that never opened cost nothing.
    let never = Run {
        id: Uuid::now_v7(),
        ..run
    };
    assert_eq!(stack.close(&never).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_waits_for_the_last_call_and_none_begins_after_it() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    stack.spend(&run, 1_000).await;
    let gate = stack.provider.answers_when_let_go(completion("gpt-4o-mini", 100, 0, 0));
    let asked = question("gpt-4o-mini");
    let (late, ()) = tokio::join!(stack.chat(&run, &asked), async {
        let begun = || async { stack.provider.calls().len() == 2 };
        eventually(SOON, "the call", begun).await.unwrap();
        let refused = stack.settle(settling(run.subject, MICRO, 0)).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_deref()),
            (Code::Unavailable, Some("CALL_UNDER_WAY"))
        );
        assert_eq!(
            stack.chat(&run, &asked).await.status(),
            StatusCode::FORBIDDEN,
            "no other call begins"
        );
        gate.notify_one();
    });
    assert_eq!(late.status(), StatusCode::OK);
    let settle = || async { stack.settle(settling(run.subject, MICRO, 0)).await };
    let settled = eventually(SOON, "the settlement", settle).await.unwrap();
    assert_eq!(settled.cost_micro_usd, 165, "what was spent late is in it");
    assert_eq!(stack.chat(&run, &asked).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(stack.balance_of("agent/demo/model_cost").await, 165);
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_a_run_nobody_closed_is_posted_when_it_expires() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    stack.spend(&run, 1_000).await;
    stack
        .execute("UPDATE billing.run_accounts SET expires_at = now()")
        .await;
    let posted = || async { stack.balance_of("agent/demo/model_cost").await == 150 };
    eventually(SOON, "the sweeper to post", posted).await.unwrap();
    stack.assert_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_adds_up_and_knows_its_span() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    stack.spend(&run, 1_000).await;
    stack.close(&run).await;
    stack
        .settle(settling(run.subject, 50 * MICRO, 5 * MICRO))
        .await
        .unwrap();
    let ask = |since, until, agent: &str| {
        let asked = v1::StatementRequest {
            since,
            until,
            agent: agent.to_owned(),
        };
        let mut viewer = stack.viewer.clone();
        async move { viewer.statement(asked).await.map(tonic::Response::into_inner) }
    };
    let all = ask(None, None, "").await.unwrap();
    assert_eq!(all.profit_micro_usd, 45 * MICRO - 150);
    assert_eq!((all.contracts_settled, all.model_calls), (1, 1));
    assert_eq!(all.accounts.len(), 5);
    for commodity in ["USD", "USDC"] {
        let of = all.accounts.iter().filter(|account| account.commodity == commodity);
        assert_eq!(of.map(|account| account.balance_micro).sum::<i64>(), 0);
    }
    assert_eq!(
        ask(None, None, "demo").await.unwrap().accounts.len(),
        4,
        "the provider's is not the agent's"
    );
    assert_eq!(ask(None, None, "dem").await.unwrap().accounts.len(), 0);
    let tomorrow = Some(rpc::convert::timestamp(chrono::Utc::now() + chrono::TimeDelta::days(1)));
    let later = ask(tomorrow, None, "demo").await.unwrap();
    assert_eq!(
        (later.revenue_micro_usdc, later.cost_micro_usd, later.model_calls),
        (0, 0, 0)
    );
    assert_eq!(
        ask(tomorrow, tomorrow, "").await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_explained_page_by_page() {
    let stack = Stack::start().await;
    for number in 1..=5 {
        stack.settle(settling(Uuid::now_v7(), number, 0)).await.unwrap();
    }
    let (mut amounts, mut cursor) = (Vec::new(), String::new());
    loop {
        let asked = v1::ExplainAccountRequest {
            account: "agent/demo/receivable".to_owned(),
            page: Some(v1::Page { limit: 2, cursor }),
        };
        let page = stack
            .operator
            .clone()
            .explain_account(asked)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (page.kind.as_str(), page.commodity.as_str(), page.balance_micro),
            ("asset", "USDC", 15)
        );
        assert!(
            page.postings
                .iter()
                .all(|posting| posting.transaction_key.starts_with("settle/"))
        );
        amounts.extend(page.postings.iter().map(|posting| posting.amount_micro));
        cursor = page.next;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(amounts, [5, 4, 3, 2, 1]);
    let asked = v1::ExplainAccountRequest {
        account: "agent/nobody/revenue".to_owned(),
        page: None,
    };
    let refused = stack.operator.clone().explain_account(asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_finds_whatever_was_tampered_with() {
    let stack = Stack::start().await;
    let run = stack.open(10_000, &[]).await;
    stack.spend(&run, 1_000).await;
    stack.close(&run).await;
    stack
        .settle(settling(run.subject, 50 * MICRO, 5 * MICRO))
        .await
        .unwrap();
    stack.assert_books().await;
    for (does, undoes, word) in [
        (
            "UPDATE billing.run_accounts SET spent_pico = spent_pico - 1",
            "UPDATE billing.run_accounts SET spent_pico = spent_pico + 1",
            "run ",
        ),
        (
            "UPDATE billing.subject_costs SET cost_pico = cost_pico + 1",
            "UPDATE billing.subject_costs SET cost_pico = cost_pico - 1",
            "its calls cost",
        ),
        (
            "UPDATE billing.subject_costs SET posted_micro = posted_micro - 1",
            "UPDATE billing.subject_costs SET posted_micro = posted_micro + 1",
            "marked as posted",
        ),
        (
            "UPDATE billing.settlements SET revenue_micro = revenue_micro + 1",
            "UPDATE billing.settlements SET revenue_micro = revenue_micro - 1",
            "settled for",
        ),
        (
            "ALTER TABLE billing.postings DISABLE TRIGGER ALL; \
             UPDATE billing.postings SET amount_micro = amount_micro + 1 WHERE amount_micro = 45000000",
            "UPDATE billing.postings SET amount_micro = amount_micro - 1 WHERE amount_micro = 45000001",
            "does not balance",
        ),
    ] {
        stack.execute(does).await;
        let check = stack
            .viewer
            .clone()
            .check_ledger(v1::CheckLedgerRequest {})
            .await
            .unwrap()
            .into_inner();
        assert!(!check.balanced && check.unexplained_micro > 0, "{does}: {check:?}");
        assert!(
            check.findings.iter().any(|finding| finding.contains(word)),
            "{does}: {check:?}"
        );
        stack.execute(undoes).await;
        stack.assert_books().await;
    }
}
