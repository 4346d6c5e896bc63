//! What a starter folder is made of, by template.

use clap::ValueEnum;

use super::{AGENT_PY, STEWARD_PY};

const STARTER_TOML: &str = include_str!("agent.toml");
const README: &str = include_str!("README.md");
const WORKFLOW: &str = include_str!("agent.yml");
const GIG: &str = include_str!("../../../../examples/gigs/summary.json");
/// The part of the agent file that says how the agent is started; the rest is the same for all.
const RUN: &str = "command = [\"python3\", \"agent.py\"]\n";
const NODE_RUN: &str = "\
# node_modules/ is not packed. With packages of its own (package.json and package-lock.json beside this file):
# setup = [\"npm\", \"ci\"]
command = [\"node\", \"agent.mjs\"]
";
const MEMORY: &str = "memory = \"512MiB\"\n";

/// What the folder is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// Python, no dependencies
    #[default]
    Python,
    /// Node, no dependencies
    Node,
    /// A shell script, no model
    Shell,
    /// No code: a template and a model
    Prompt,
    /// A compiled program, standard library only
    Rust,
    /// An endpoint somewhere else, and a sample of one
    Http,
}

/// A file of a starter: where it goes and what is in it.
pub(crate) type File = (&'static str, String);

impl Template {
    /// Its files; `{{name}}` stands where the agent's name goes.
    pub(crate) fn files(self) -> Vec<File> {
        let mut files: Vec<File> = vec![
            ("agent.toml", self.agent_file()),
            ("README.md", README.replace("{{files}}", self.listed())),
            (".gitignore", GIT_IGNORE.to_owned()),
            (".stewardignore", STEWARD_IGNORE.to_owned()),
            ("gig.json", GIG.to_owned()),
            (".github/workflows/agent.yml", WORKFLOW.to_owned()),
        ];
        files.extend(self.program().iter().map(|(name, text)| (*name, (*text).to_owned())));
        files
    }

    /// The files that are the agent.
    fn program(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Python => &[("agent.py", AGENT_PY), ("steward.py", STEWARD_PY)],
            Self::Node => &[
                ("agent.mjs", include_str!("../../../../examples/agents/node/agent.mjs")),
                (
                    "steward.mjs",
                    include_str!("../../../../examples/agents/node/steward.mjs"),
                ),
            ],
            Self::Shell => &[("agent.sh", include_str!("../../../../examples/agents/shell/agent.sh"))],
            Self::Prompt => &[
                (
                    "prompt.txt",
                    include_str!("../../../../examples/agents/prompt/prompt.txt"),
                ),
                (
                    "system.txt",
                    include_str!("../../../../examples/agents/prompt/system.txt"),
                ),
            ],
            Self::Rust => &[
                (
                    "src/main.rs",
                    include_str!("../../../../examples/agents/rust/src/main.rs"),
                ),
                (
                    "src/json.rs",
                    include_str!("../../../../examples/agents/rust/src/json.rs"),
                ),
                ("setup.sh", include_str!("../../../../examples/agents/rust/setup.sh")),
            ],
            Self::Http => &[("server.py", include_str!("../../../../examples/agents/http/server.py"))],
        }
    }

    fn agent_file(self) -> String {
        let (run, more) = match self {
            Self::Python => (RUN, ""),
            Self::Node => (NODE_RUN, ""),
            Self::Shell => ("command = [\"sh\", \"agent.sh\"]\n", ""),
            Self::Prompt => (
                "adapter = \"prompt\"\n",
                "[prompt]\ntemplate = \"prompt.txt\"\nsystem = \"system.txt\"\noutput = \"answer.md\"\n\n",
            ),
            Self::Rust => ("setup = [\"sh\", \"setup.sh\"]\ncommand = [\"./agent\"]\n", ""),
            Self::Http => (
                "adapter = \"http\"\n",
                "[http]\nurl = \"http://127.0.0.1:8000/jobs\"\n\n",
            ),
        };
        let text = STARTER_TOML
            .replace(RUN, run)
            .replace("[limits]\n", &format!("{more}[limits]\n"));
        match self {
            // It reserves more than it uses.
            Self::Node => text.replace(MEMORY, "memory = \"2GiB\"\n"),
            _ => text,
        }
    }

    /// The files that are worth a word.
    fn listed(self) -> &'static str {
        match self {
            Self::Python => {
                "- `agent.toml`: its name, how it is started, which gigs it bids on, what it may spend\n\
                 - `agent.py`: the agent; it reads a job, calls a model, writes files below `out/`\n\
                 - `steward.py`: the few functions it uses to talk to Steward; no dependencies"
            }
            Self::Node => {
                "- `agent.toml`: its name, how it is started, which gigs it bids on, what it may spend\n\
                 - `agent.mjs`: the agent; it reads a job, calls a model, writes files below `out/`\n\
                 - `steward.mjs`: the few functions it uses to talk to Steward; no dependencies"
            }
            Self::Shell => {
                "- `agent.toml`: its name, how it is started, which gigs it bids on, what it may spend\n\
                 - `agent.sh`: the agent; it hands the job back as a file and asks no model"
            }
            Self::Prompt => {
                "- `agent.toml`: its name, its model, which gigs it bids on, what it may spend\n\
                 - `prompt.txt`: what the model is asked, a template filled in with the job\n\
                 - `system.txt`: what the model is told before"
            }
            Self::Rust => {
                "- `agent.toml`: its name, how it is started, which gigs it bids on, what it may spend\n\
                 - `src/main.rs`: the agent; it reads a job, calls a model, writes files below `out/`\n\
                 - `setup.sh`: builds it, once per version; without a compiler where agents find one, run it before adding"
            }
            Self::Http => {
                "- `agent.toml`: its name, where its jobs go, which gigs it bids on, what it may spend\n\
                 - `server.py`: an endpoint that takes them; start it first: `python3 server.py`"
            }
        }
    }
}

const GIT_IGNORE: &str = "\
# What a stack keeps: data, logs, secrets.
.steward/
# Secrets never belong into the folder of an agent.
.env
.env.*
*.pem
*.key
__pycache__/
.venv/
node_modules/
";

/// What the agent does not need where it runs.
const STEWARD_IGNORE: &str = "\
.github/
gig.json
README.md
";

#[cfg(test)]
mod tests {
    use domain::agent_file::AgentFile;

    use super::*;

    #[test]
    fn every_template_makes_an_agent_file_that_can_be_used() {
        for template in Template::value_variants() {
            let files = template.files();
            let text = |wanted: &str| {
                files
                    .iter()
                    .find(|(name, _)| *name == wanted)
                    .map(|(_, text)| text.clone())
                    .unwrap()
            };
            let agent = AgentFile::parse(&text("agent.toml").replace("{{name}}", "mine")).unwrap();
            if *template != Template::Http {
                assert!(!text("README.md").contains("{{files}}"));
            }
            let named = agent
                .run
                .command
                .last()
                .or(agent.prompt.as_ref().map(|prompt| &prompt.template));
            let there = |name: &String| files.iter().any(|(file, _)| file == name) || name == "./agent";
            assert!(named.is_none_or(there), "{template:?}: {named:?}");
        }
    }
}
