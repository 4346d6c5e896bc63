//! What a run used, told at its end.

use super::Run;
use crate::gateway::Called;
use crate::metrics;
use crate::sandbox::Usage;

impl Run {
    /// Which other hosts the run called with its agent's secrets, in its log.
    pub(super) fn tell_calls(&self, called: &[Called]) {
        for Called {
            host,
            secret,
            calls,
            failed,
        } in called
        {
            let failures = match failed {
                0 => String::new(),
                failed => format!(", {failed} of them without success"),
            };
            let times = if *calls == 1 { "once" } else { &format!("{calls} times") };
            self.output
                .note(&format!("called {host} {times} with the secret {secret}{failures}"));
        }
    }

    /// What the run used, in its log and in the executor's.
    pub(super) fn tell_use(&self, used: &Usage) {
        let kind = self.kind.as_str();
        let cpu = used.cpu.unwrap_or_default();
        let memory_mib = used.memory.unwrap_or_default() >> 20;
        tracing::info!(
            cpu_ms = u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
            memory_mib,
            out_of_memory = used.out_of_memory,
            too_many_processes = used.too_many,
            "what the run used"
        );
        if let Some(bytes) = used.memory {
            ::metrics::histogram!(metrics::RUN_MEMORY, "kind" => kind).record(bytes as f64);
        }
        ::metrics::histogram!(metrics::RUN_CPU, "kind" => kind).record(cpu.as_secs_f64());
        let seconds = cpu.as_secs_f64();
        self.output.note(&format!(
            "used {seconds:.1} s of processor time and at most {memory_mib} MiB of memory"
        ));
        if used.out_of_memory > 0 {
            self.output
                .note("a process was ended because the run's memory was used up");
        }
        if used.too_many > 0 {
            let times = used.too_many;
            self.output.note(&format!(
                "{times} times no process could be started: limits.pids of the agent file"
            ));
        }
    }
}
