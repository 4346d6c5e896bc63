//! The books of the fake world.

use rpc::v1;
use tonic::{Request, Response};

use super::{Answer, World, unused};

#[tonic::async_trait]
impl v1::billing_server::Billing for World {
    async fn open_run(&self, _: Request<v1::OpenRunRequest>) -> Answer<v1::OpenRunResponse> {
        unused()
    }

    async fn close_run(&self, _: Request<v1::CloseRunRequest>) -> Answer<v1::CloseRunResponse> {
        unused()
    }

    async fn settle(&self, _: Request<v1::SettleRequest>) -> Answer<v1::Settlement> {
        unused()
    }

    async fn subject_costs(&self, _: Request<v1::SubjectCostsRequest>) -> Answer<v1::SubjectCostsResponse> {
        unused()
    }

    async fn check_ledger(&self, _: Request<v1::CheckLedgerRequest>) -> Answer<v1::CheckLedgerResponse> {
        self.called("check_ledger".to_owned());
        Ok(Response::new(self.data().ledger.clone()))
    }

    async fn explain_account(&self, _: Request<v1::ExplainAccountRequest>) -> Answer<v1::ExplainAccountResponse> {
        unused()
    }

    async fn statement(&self, _: Request<v1::StatementRequest>) -> Answer<v1::StatementResponse> {
        self.called("statement".to_owned());
        Ok(Response::new(self.data().week.clone()))
    }

    async fn list_prices(&self, _: Request<v1::ListPricesRequest>) -> Answer<v1::ListPricesResponse> {
        unused()
    }

    async fn set_price(&self, _: Request<v1::Price>) -> Answer<v1::Price> {
        unused()
    }

    async fn list_usage(&self, _: Request<v1::ListUsageRequest>) -> Answer<v1::ListUsageResponse> {
        unused()
    }

    async fn list_providers(&self, _: Request<v1::ListProvidersRequest>) -> Answer<v1::ListProvidersResponse> {
        unused()
    }

    async fn set_secret(&self, _: Request<v1::SetSecretRequest>) -> Answer<v1::AgentSecret> {
        unused()
    }

    async fn list_secrets(&self, _: Request<v1::ListSecretsRequest>) -> Answer<v1::ListSecretsResponse> {
        unused()
    }

    async fn remove_secret(&self, _: Request<v1::RemoveSecretRequest>) -> Answer<v1::RemoveSecretResponse> {
        unused()
    }
}
