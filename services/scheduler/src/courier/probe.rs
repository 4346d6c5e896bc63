//! One read that shows whether a marketplace that kept failing works again, before anything that changes something there.

use std::sync::Arc;

use super::Courier;
use crate::budget::Held;
use crate::wake::Topic;

impl Courier {
    /// Makes the read beside the round, under the probe's grant; what it says is learned like any other answer.
    pub(super) fn probe(self: &Arc<Self>, agent: String, held: Held) {
        let courier = Arc::clone(self);
        let _running = self.desk.tasks.spawn_job("probe", async move {
            match courier.market.client(&agent).await {
                Ok(client) => {
                    let answer = client.list_contracts_page(None, 0).await;
                    courier.budget.learn(&agent, &answer).await;
                }
                Err(error) => {
                    tracing::debug!(agent, %error, "no read could be made with this key");
                    courier.budget.give_back(held).await;
                }
            }
            courier.desk.wake.wake(Topic::Courier);
        });
    }
}
