//! Drafters by their names on the command line.

use model::decode::speculative::{DraftLen, Drafter, LookUpFirst, ModelDrafter, NGramDrafter};
use model::load::LoadedModel;
use model::spread_layers;

use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::{DraftTokensArg, DrafterArg};
use crate::error::DistillError;

/// Longest draft that `auto` tries.
const AUTO_MOST: usize = 8;

/// Text that tokenizers cut differently.
const PROBE: &str =
    "The drafter's 1234 na\u{ef}ve guesses,\n\tunlikely  as they are: {x} != \u{65e5}\u{672c}";

/// The drafter that `arg` names, for `verifier`, its projections held in the same type.
///
/// # Errors
/// An unreadable model, or one whose tokenizer is another than the verifier's.
pub(super) fn build(
    arg: &DrafterArg,
    verifier: &LoadedModel<InnerBackend>,
    device: &Device,
) -> anyhow::Result<Box<dyn Drafter<InnerBackend>>> {
    Ok(match arg {
        DrafterArg::Ngram => Box::new(NGramDrafter::new(device)),
        DrafterArg::Layers(layers) => {
            let n_layers = verifier.model.n_layers();
            let count = layers.unwrap_or(n_layers.div_ceil(2));
            let layers = spread_layers(n_layers, count);
            Box::new(ModelDrafter::new(verifier.model.shrink(&layers)?))
        }
        DrafterArg::Model(path) => {
            let loaded = load_path::<InnerBackend>(path, device)?;
            let ids = [&loaded, verifier].map(|model| {
                let tokenizer = model.tokenizer.as_ref();
                tokenizer.map(|tokenizer| tokenizer.encode(PROBE))
            });
            if let [Some(found), Some(expected)] = &ids
                && found != expected
            {
                return Err(DistillError::OtherTokenizer { path: path.clone() }.into());
            }
            let held = verifier.model.head_weight().dtype();
            let model = loaded.model.with_projections_in(held.into());
            Box::new(ModelDrafter::new(model.with_weights_apart()))
        }
        DrafterArg::LookUpFirst(other) => {
            let other = build(other, verifier, device)?;
            Box::new(LookUpFirst::new(other, device))
        }
    })
}

/// The choice of draft lengths that `arg` names.
pub(super) fn draft_len(arg: DraftTokensArg) -> DraftLen {
    match arg {
        DraftTokensArg::Auto => DraftLen::auto(AUTO_MOST),
        DraftTokensArg::Fixed(count) => DraftLen::fixed(count),
    }
}
