//! Puts one text everywhere that somebody else writes.

use rpc::v1;

use crate::fake::World;

/// Everything that is not an id or a time becomes `text`.
pub fn replace_every_text(world: &World, text: &str) {
    let mut data = world.data();
    let data = &mut *data;
    for detail in data.contracts.values_mut() {
        detail.contract.iter_mut().for_each(|it| contract(it, text));
        detail.events.iter_mut().for_each(|event| {
            set(
                text,
                [
                    &mut event.command,
                    &mut event.source,
                    &mut event.from_state,
                    &mut event.detail,
                ],
            );
        });
        detail.runs.iter_mut().for_each(|it| run(it, text));
        detail.effects.iter_mut().for_each(|it| effect(it, text));
        detail.messages.iter_mut().for_each(|message| {
            set(text, [&mut message.side, &mut message.text]);
            message.attachments.iter_mut().for_each(|file| {
                set(text, [&mut file.url, &mut file.name, &mut file.media_type]);
            });
        });
    }
    for detail in data.runs.values_mut() {
        detail.run.iter_mut().for_each(|it| run(it, text));
        detail
            .events
            .iter_mut()
            .for_each(|line| set(text, [&mut line.kind, &mut line.text]));
        detail.artefacts.iter_mut().for_each(|file| {
            set(text, [&mut file.name, &mut file.sha256, &mut file.media_type]);
        });
    }
    for gig in data.gigs.values_mut() {
        set(
            text,
            [
                &mut gig.agent,
                &mut gig.title,
                &mut gig.description,
                &mut gig.category,
                &mut gig.proposal_state,
                &mut gig.reason,
                &mut gig.cover_letter,
            ],
        );
        gig.score_parts_json = serde_json::json!({ text: text }).to_string();
    }
    data.held.iter_mut().for_each(|it| effect(it, text));
    for dead in &mut data.dead {
        set(text, [&mut dead.agent, &mut dead.what, &mut dead.reason]);
    }
    for agent in &mut data.agents {
        set(text, [&mut agent.name, &mut agent.mode, &mut agent.version]);
    }
    for budget in &mut data.budgets {
        set(text, [&mut budget.key, &mut budget.stopped_reason]);
    }
    for start in &mut data.starts {
        set(
            text,
            [
                &mut start.service,
                &mut start.instance,
                &mut start.version,
                &mut start.git_sha,
            ],
        );
    }
    data.ledger.findings = vec![text.to_owned()];
    world.overview(|overview| {
        overview.recent.iter_mut().for_each(|it| contract(it, text));
        overview.waiting.iter_mut().for_each(|item| item.text = text.to_owned());
        overview
            .contracts
            .iter_mut()
            .for_each(|count| count.state = text.to_owned());
    });
}

fn contract(contract: &mut v1::Contract, text: &str) {
    set(
        text,
        [
            &mut contract.agent,
            &mut contract.title,
            &mut contract.state,
            &mut contract.attention,
            &mut contract.external_id,
        ],
    );
}

fn run(run: &mut v1::Run, text: &str) {
    set(
        text,
        [
            &mut run.kind,
            &mut run.agent,
            &mut run.version,
            &mut run.executor_id,
            &mut run.error,
        ],
    );
}

fn effect(effect: &mut v1::Effect, text: &str) {
    set(
        text,
        [
            &mut effect.agent,
            &mut effect.kind,
            &mut effect.natural_key,
            &mut effect.state,
            &mut effect.error,
        ],
    );
}

fn set<const N: usize>(text: &str, fields: [&mut String; N]) {
    for field in fields {
        text.clone_into(field);
    }
}
