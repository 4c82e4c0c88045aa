//! The conversation itself: what was said, the cache of it, and what replies took.
use std::ops::ControlFlow;

use model::decode::speculative::{Drafter, Speculation, SpeculationReport, generate_speculative};
use model::decode::{Reply, Sampling, Session};
use model::load::LoadedModel;
use model::{ChatTemplate, Conversation, HybridModel, Message, Tokenizer};

use crate::backend::{Device, InnerBackend};
use crate::cli::ConversationArgs;
use crate::commands::drafter;

/// A conversation with a model.
pub(super) struct Talk<'a> {
    model: &'a HybridModel<InnerBackend>,
    tokenizer: &'a Tokenizer,
    template: ChatTemplate,
    system: Option<String>,
    conversation: Conversation,
    sampling: Sampling,
    session: Session<InnerBackend>,
    speculation: Option<(Box<dyn Drafter<InnerBackend>>, Speculation)>,
    last: Option<Measured>,
}

/// What the last reply took.
struct Measured {
    /// Tokens that were read for it, of how many
    read: usize,
    prompt: usize,
    reply: Reply,
    state_bytes: usize,
    report: Option<SpeculationReport>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(
        loaded: &'a LoadedModel<InnerBackend>,
        tokenizer: &'a Tokenizer,
        template: ChatTemplate,
        args: &ConversationArgs,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let stop_tokens = template.stop_tokens(&loaded.model.config().llama, tokenizer)?;
        let speculation = match &args.speculate {
            Some(arg) => {
                let draft_len = drafter::draft_len(args.draft_tokens);
                let drafter = drafter::build(arg, loaded, device)?;
                Some((drafter, Speculation::new(draft_len)))
            }
            None => None,
        };
        Ok(Self {
            model: &loaded.model,
            tokenizer,
            conversation: Conversation::new(template.clone(), args.system.clone()),
            template,
            system: args.system.clone(),
            sampling: (args.sampling).sampling(args.max_tokens, args.seed, stop_tokens),
            session: Session::new(&loaded.model),
            speculation,
            last: None,
        })
    }

    /// Answers `text`, telling `each` every token as it is drawn; both become part of the conversation.
    pub(super) fn answer(
        &mut self,
        text: &str,
        mut each: impl FnMut(u32) -> ControlFlow<()>,
    ) -> anyhow::Result<()> {
        let prompt = self.conversation.prompt(self.tokenizer, text)?;
        let measured = match &mut self.speculation {
            None => {
                let (model, session) = (self.model, &mut self.session);
                let (reply, read) = session.reply(model, &prompt, &self.sampling, each)?;
                Measured {
                    read,
                    prompt: prompt.len(),
                    reply,
                    state_bytes: session.state_bytes(),
                    report: None,
                }
            }
            Some((drafter, speculation)) => {
                let (mut replies, report) = generate_speculative(
                    self.model,
                    drafter.as_mut(),
                    std::slice::from_ref(&prompt),
                    &self.sampling,
                    speculation,
                    &mut |_, token| each(token),
                )?;
                Measured {
                    read: prompt.len(),
                    prompt: prompt.len(),
                    reply: replies.swap_remove(0),
                    state_bytes: report.state_bytes + report.drafter_bytes,
                    report: Some(report),
                }
            }
        };
        let tokens = measured.reply.tokens.clone();
        let answer = self.tokenizer.decode_without_specials(&tokens);
        self.conversation
            .add(text.to_owned(), answer, prompt, tokens);
        self.sampling.seed = self.sampling.seed.wrapping_add(1);
        self.last = Some(measured);
        Ok(())
    }

    /// Begins a new conversation with the same system turn.
    pub(super) fn reset(&mut self) {
        self.conversation = Conversation::new(self.template.clone(), self.system.clone());
        self.session = Session::new(self.model);
        self.last = None;
    }

    /// Begins a new conversation with another system turn, or none.
    pub(super) fn set_system(&mut self, system: Option<String>) {
        self.system = system;
        self.reset();
    }

    /// What was said.
    pub(super) fn messages(&self) -> &[Message] {
        self.conversation.messages()
    }

    /// What the last reply took.
    pub(super) fn stats(&self) -> String {
        let Some(last) = &self.last else {
            return "nothing was said yet".into();
        };
        // A plain prefill brings the first token.
        let earlier = usize::from(last.report.is_none());
        let decoded = last.reply.tokens.len().saturating_sub(earlier);
        let per_second = |tokens: usize, wall_ms: f64| tokens as f64 * 1e3 / wall_ms.max(1e-3);
        let mut text = format!(
            "read {} of {} prompt tokens, {:.1} tokens/s; reply {} tokens, {:.1} tokens/s; decode state {} bytes",
            last.read,
            last.prompt,
            per_second(last.read, last.reply.prefill_ms),
            last.reply.tokens.len(),
            per_second(decoded, last.reply.decode_ms),
            last.state_bytes
        );
        if let Some(report) = &last.report {
            text += &format!(
                "\n{} rounds with drafts, {:.2} tokens each, {:.0} % of the drafts accepted; {} steps without",
                report.rounds,
                report.tokens_per_round(),
                100.0 * report.acceptance(),
                report.plain_rounds
            );
        }
        text
    }
}
