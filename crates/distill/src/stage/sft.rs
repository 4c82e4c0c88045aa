//! Stage 2: end-to-end training on conversations, by cross-entropy, KL to the teacher, or both.

use kernels::SsmBackend;
use model::HybridModel;

use super::distillation::Conversations;
use super::{StageContext, StageOutcome, steps};

/// Runs the stage.
pub(super) fn run<B: SsmBackend>(
    context: StageContext<B>,
    student: HybridModel<B>,
) -> anyhow::Result<StageOutcome<B>> {
    let examples = Conversations::new(&context, &context.data.sft);
    steps::run(context, student, &examples)
}
