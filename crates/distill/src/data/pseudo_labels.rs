//! Replies of the teacher to training prompts: the targets of sequence-level distillation (method, section 4.3).

use std::path::Path;

use anyhow::Context;
use kernels::SsmBackend;
use model::decode::{Finish, Sampling, generate_batch};
use model::{ChatTemplate, HybridModel, Tokenizer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Chat, Example, sealed_lines};
use crate::run::StopFlag;

/// How the teacher answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PseudoLabelPlan {
    /// Most tokens of a reply.
    pub max_tokens: usize,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Seed of the sampler.
    pub seed: u64,
    /// Longest sequence kept, tokens.
    pub seq_len: usize,
    /// Prompts answered together.
    pub batch: usize,
}

/// A reply as it stands in the run folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Label {
    prompt: String,
    reply: String,
    tokens: Vec<u32>,
    ended: bool,
}

/// The teacher's replies to the prompts of `chats`, as training examples in the same order; `None` when `stop` was set.
///
/// Replies are cached in `cache_dir`, in a file named after everything that determines them, and read from there the next
/// time. Prompts that leave no room for a reply, and empty replies, give no example.
///
/// # Errors
/// When generation fails or the cache cannot be read or written.
pub fn pseudo_labels<B: SsmBackend>(
    teacher: &HybridModel<B>,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    chats: &[Chat],
    plan: PseudoLabelPlan,
    cache_dir: &Path,
    stop: &StopFlag,
) -> anyhow::Result<Option<Vec<Example>>> {
    let mut prompts = Vec::with_capacity(chats.len());
    for chat in chats {
        let ids = chat.encode_prompt(tokenizer, template)?;
        if ids.len() + 2 <= plan.seq_len {
            prompts.push((chat, ids));
        }
    }
    let end = template.end_of_turn(tokenizer)?;
    let path = cache_dir.join(format!("pseudo-labels-{}.jsonl", key(&prompts, plan)));
    let labels = if path.exists() {
        sealed_lines::read::<Label>(&path)?
    } else {
        let stop_tokens = template.stop_tokens(&teacher.config().llama, tokenizer)?;
        let labels = generate(teacher, tokenizer, &prompts, plan, &stop_tokens, stop)?;
        let Some(labels) = labels else {
            return Ok(None);
        };
        sealed_lines::write(&path, &labels)?;
        labels
    };
    anyhow::ensure!(
        labels.len() == prompts.len(),
        "`{}` holds {} replies, expected {}; delete it to make them again",
        path.display(),
        labels.len(),
        prompts.len()
    );
    let examples = prompts
        .into_iter()
        .zip(labels)
        .filter_map(|((_, mut ids), label)| {
            let mut targets = vec![false; ids.len()];
            ids.extend(&label.tokens);
            ids.extend(label.ended.then_some(end));
            targets.resize(ids.len(), true);
            Example { ids, targets }.truncated(plan.seq_len)
        });
    Ok(Some(examples.collect()))
}

fn generate<B: SsmBackend>(
    teacher: &HybridModel<B>,
    tokenizer: &Tokenizer,
    prompts: &[(&Chat, Vec<u32>)],
    plan: PseudoLabelPlan,
    stop_tokens: &[u32],
    stop: &StopFlag,
) -> anyhow::Result<Option<Vec<Label>>> {
    // Prompts of like length share a batch, so few steps are spent on ragged prompts.
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|index| prompts[*index].1.len());
    let mut labels: Vec<Option<Label>> = vec![None; prompts.len()];
    for (batch_index, batch) in order.chunks(plan.batch).enumerate() {
        if stop.is_set() {
            return Ok(None);
        }
        let ids: Vec<_> = batch
            .iter()
            .map(|index| prompts[*index].1.clone())
            .collect();
        let longest = ids.last().map_or(0, Vec::len);
        let max_tokens = plan
            .max_tokens
            .min(plan.seq_len.saturating_sub(longest))
            .max(1);
        let seed = plan
            .seed
            .wrapping_mul(1_000_003)
            .wrapping_add(batch_index as u64);
        let sampling = Sampling::with_temperature(max_tokens, plan.temperature as f32, seed)
            .stop_at(stop_tokens);
        let replies = generate_batch(teacher, &ids, &sampling).context("the teacher's replies")?;
        for (index, reply) in batch.iter().zip(replies) {
            let prompt = prompts[*index].0.prompt();
            labels[*index] = Some(Label {
                prompt: prompt
                    .last()
                    .map(|message| message.content.clone())
                    .unwrap_or_default(),
                reply: tokenizer.decode(&reply.tokens),
                ended: reply.finish == Finish::Stop,
                tokens: reply.tokens,
            });
        }
    }
    Ok(labels.into_iter().collect())
}

/// Hash of prompts and sampling.
fn key(prompts: &[(&Chat, Vec<u32>)], plan: PseudoLabelPlan) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{plan:?}"));
    for (_, ids) in prompts {
        hash.update((ids.len() as u64).to_le_bytes());
        ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    }
    hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use model::HybridConfig;

    use super::*;
    use crate::testing::{at_every_operation, chat_tokenizer, llama};

    struct Setup {
        teacher: HybridModel<Flex>,
        tokenizer: Tokenizer,
        chats: Vec<Chat>,
        dir: tempfile::TempDir,
        temperature: f64,
    }

    impl Setup {
        fn new() -> Self {
            let tokenizer = chat_tokenizer();
            let mut llama = llama();
            llama.vocab_size = tokenizer.vocab_size();
            let teacher =
                HybridModel::init_seeded(&HybridConfig::teacher(llama), 2, &Default::default());
            let records =
                ["one", "two words", "and three words"].map(|prompt| super::super::ReplyRecord {
                    prompt: prompt.into(),
                    reply: "unused".into(),
                    seed: 0,
                });
            let dir = tempfile::tempdir().expect("a temporary folder");
            Self {
                teacher,
                tokenizer,
                chats: Chat::from_replies(records.to_vec()),
                dir,
                temperature: 0.9,
            }
        }

        fn labels(&self, seed: u64, stop: &StopFlag) -> Option<Vec<Example>> {
            self.try_labels(seed, stop).expect("the teacher answers")
        }

        fn try_labels(&self, seed: u64, stop: &StopFlag) -> anyhow::Result<Option<Vec<Example>>> {
            let plan = PseudoLabelPlan {
                max_tokens: 6,
                temperature: self.temperature,
                seed,
                seq_len: 60,
                batch: 64,
            };
            let (template, dir) = (ChatTemplate::chat_ml(), self.dir.path());
            pseudo_labels(
                &self.teacher,
                &self.tokenizer,
                &template,
                &self.chats,
                plan,
                dir,
                stop,
            )
        }
    }

    #[test]
    fn replies_follow_their_prompts_and_only_they_are_targets() {
        let setup = Setup::new();
        let examples = setup.labels(1, &StopFlag::new()).expect("not stopped");
        assert_eq!(examples.len(), 3);
        for (example, chat) in examples.iter().zip(&setup.chats) {
            let prompt = chat.encode_prompt(&setup.tokenizer, &ChatTemplate::chat_ml());
            let prompt = prompt.expect("encodes");
            assert_eq!(example.ids[..prompt.len()], prompt[..]);
            let targets: Vec<_> = (0..example.ids.len()).map(|t| t >= prompt.len()).collect();
            assert_eq!(example.targets, targets);
        }
    }

    #[test]
    fn the_cache_is_read_instead_of_the_teacher() {
        let setup = Setup::new();
        let first = setup.labels(1, &StopFlag::new()).expect("not stopped");
        let files = || std::fs::read_dir(setup.dir.path()).expect("lists").count();
        assert_eq!(files(), 1);
        // A stopped run still gets what is on disk, since nothing has to be generated.
        let stopped = StopFlag::new();
        stopped.stop();
        assert_eq!(setup.labels(1, &stopped), Some(first));
        assert_eq!(setup.labels(2, &stopped), None);
        assert_eq!(files(), 1);
    }

    #[test]
    fn a_disk_that_fails_leaves_no_file_and_the_next_try_makes_it() {
        // Greedy: the draws of a seed are those of the process, which other tests draw from meanwhile.
        let mut setup = Setup::new();
        setup.temperature = 0.0;
        let files = || std::fs::read_dir(setup.dir.path()).expect("lists").count();
        let expected = setup.labels(1, &StopFlag::new());
        let clear = || {
            for entry in std::fs::read_dir(setup.dir.path()).expect("lists") {
                std::fs::remove_file(entry.expect("lists").path()).expect("removes");
            }
        };
        let work = || {
            clear();
            setup.try_labels(1, &StopFlag::new())
        };
        at_every_operation("pseudo-labels-", 4, work, |labels| {
            assert_eq!(
                files(),
                usize::from(labels.is_some()),
                "nothing half written"
            );
            assert_eq!(setup.labels(1, &StopFlag::new()), expected);
        });
    }
}
