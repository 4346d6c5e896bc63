//! The market playing by itself: gigs that match the agents, now and then.

use super::{World, gigs::GigSpec};
use crate::timers::Action;

/// Wait before the first gig once an agent is ready.
const FIRST_MS: u64 = 500;
/// A played gig's client acts after a pause between these.
const PAUSE_MS: (u64, u64) = (200, 1_500);

impl World {
    /// Starts playing, if that is wanted, an agent is ready, and it has not begun.
    pub fn start_playing(&mut self) {
        let wanted = self.settings.auto_play && !self.playing;
        if wanted && self.agents.iter().any(|agent| self.may_bid(agent).is_ok()) {
            self.playing = true;
            self.plan(FIRST_MS, Action::Play);
        }
    }

    /// Posts the next gig and plans the one after it.
    pub fn play(&mut self) {
        let ready: Vec<_> = self
            .agents
            .iter()
            .filter(|agent| self.may_bid(agent).is_ok())
            .map(|agent| (agent.categories.clone(), agent.skills.clone()))
            .collect();
        if !self.settings.auto_play || ready.is_empty() {
            self.playing = false;
            return;
        }
        let (categories, mut skills) = ready[self.rng.below(ready.len() as u64) as usize].clone();
        let category = self.rng.below(categories.len() as u64) as usize;
        let turn = self.rng.below(skills.len().max(1) as u64) as usize;
        skills.rotate_left(turn);
        skills.truncate(2);
        let spec = GigSpec {
            category: categories.get(category).cloned(),
            skills_required: Some(skills),
            auto: Some(serde_json::json!({
                "accept": self.pause(),
                "fund": self.pause(),
                "approve": self.pause(),
            })),
            ..GigSpec::default()
        };
        // A full world posts nothing more; the market stays quiet until it is reset.
        let _ = self.post_gigs(&spec);
        let mean = self.settings.auto_play_interval_ms;
        let wait = (mean / 2 + self.rng.below(mean.max(1))).max(1);
        self.plan(wait, Action::Play);
    }

    fn pause(&mut self) -> u64 {
        PAUSE_MS.0 + self.rng.below(PAUSE_MS.1 - PAUSE_MS.0)
    }
}
