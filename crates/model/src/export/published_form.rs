//! The same function in the tensors and flags of the published mixers, whose code knows no others (method 2.4, quirks 1 and 2).

use burn::tensor::TensorData;

use crate::config::{GqaRepeat, HybridConfig, LlamaConfig, MixerKind, SsmConfig};
use crate::error::ModelError;

/// Tensors under their checkpoint names, in file layout.
type Tensors = Vec<(String, TensorData)>;

/// `tensors` of the model of `config` as a mixer with the published quirks computes the same from them.
///
/// - A step size bias that is added once is halved, to be added twice: exact.
/// - Mamba1 that repeats whole heads gets its inner channels in another order, in which repeating chunks of `d_state` gives each
///   the same keys and values: the output projection then adds the same products in another order.
///
/// - Mamba2 with biases of its input projection gets zeros for those of the output projection: the published flag means both.
///
/// # Errors
/// [`ModelError::Config`] for a mixer that no published one can stand for.
pub(super) fn published_form(
    config: &HybridConfig,
    tensors: Tensors,
) -> Result<(Option<SsmConfig>, Tensors), ModelError> {
    let Some(ssm) = config.used_ssm() else {
        return Ok((None, tensors));
    };
    let llama = &config.llama;
    let mut published = ssm.clone();
    if ssm.mixer == MixerKind::Mamba2 {
        // The state is as wide as a head, so both repeats are one.
        published.gqa_repeat = GqaRepeat::Head;
        let tensors = match ssm.in_proj_bias {
            true => with_output_biases(config, tensors),
            false => tensors,
        };
        return Ok((Some(published), tensors));
    }
    if ssm.in_proj_bias {
        let expected = "false: the published Mamba1 has no biases of B and C (Mamba2 has; or start the student at random)";
        return Err(ModelError::config(
            "mixer to export",
            "in_proj_bias",
            true,
            expected,
        ));
    }
    if !ssm.repeat_kv_before_conv {
        let expected = "true: the published Mamba1 convolves what is repeated";
        return Err(ModelError::config(
            "mixer to export",
            "repeat_kv_before_conv",
            false,
            expected,
        ));
    }
    let order = channel_order(llama, ssm)?;
    let halve = ssm.dt_bias_multiplicity == 1;
    published.dt_bias_multiplicity = 2;
    published.gqa_repeat = GqaRepeat::ChunkN;
    let rewritten = tensors.into_iter().map(|(key, data)| {
        let Some((_, name)) = key.split_once(".mamba.") else {
            return (key, data);
        };
        let data = match (name, &order) {
            ("in_proj_x.weight" | "B_proj.weight" | "dt_proj_down.weight", _) | (_, None) => data,
            ("out_proj.weight", Some(order)) => columns(data, order),
            (_, Some(order)) => rows(data, order),
        };
        let data = match name == "dt_proj.bias" && halve {
            true => {
                let shape = data.shape.clone();
                let values: Vec<f32> = data.iter::<f32>().map(|bias| bias / 2.0).collect();
                TensorData::new(values, shape)
            }
            false => data,
        };
        (key, data)
    });
    Ok((Some(published), rewritten.collect()))
}

/// `tensors` with zeros for the biases of the mixers' output projections.
fn with_output_biases(config: &HybridConfig, mut tensors: Tensors) -> Tensors {
    let d_model = config.llama.d_model;
    let is_mixer = |layer_idx: &usize| config.mixer_kind(*layer_idx) != MixerKind::Attention;
    tensors.extend(
        (0..config.llama.n_layers)
            .filter(is_mixer)
            .map(|layer_idx| {
                let key = format!("model.layers.{layer_idx}.mamba.out_proj.bias");
                (key, TensorData::zeros::<f32, _>([d_model]))
            }),
    );
    tensors
}

/// The channel that stands at each place of the published order; none where the order stays.
fn channel_order(llama: &LlamaConfig, ssm: &SsmConfig) -> Result<Option<Vec<usize>>, ModelError> {
    let (times, width) = (llama.heads_per_kv(), ssm.d_state);
    let is_same = ssm.gqa_repeat == GqaRepeat::ChunkN || times == 1 || width == llama.head_dim;
    if is_same {
        return Ok(None);
    }
    if !llama.head_dim.is_multiple_of(width) {
        let expected = format!(
            "a divisor of the head size {}: the published Mamba1 repeats such chunks",
            llama.head_dim
        );
        return Err(ModelError::config(
            "mixer to export",
            "d_state",
            width,
            expected,
        ));
    }
    let chunks = llama.head_dim / width;
    let mut order = Vec::with_capacity(llama.d_inner());
    // Chunk `chunk` of key/value head `kv_head` is read by the same chunk of each query head of the group.
    for kv_head in 0..llama.n_kv_heads {
        for chunk in 0..chunks {
            for head in kv_head * times..(kv_head + 1) * times {
                let first = head * llama.head_dim + chunk * width;
                order.extend(first..first + width);
            }
        }
    }
    Ok(Some(order))
}

fn rows(data: TensorData, order: &[usize]) -> TensorData {
    let shape = data.shape.clone();
    let values: Vec<f32> = data.into_vec().expect("named tensors are f32");
    let width = values.len() / order.len();
    let ordered = order.iter().flat_map(|row| &values[row * width..][..width]);
    TensorData::new(ordered.copied().collect(), shape)
}

fn columns(data: TensorData, order: &[usize]) -> TensorData {
    let shape = data.shape.clone();
    let values: Vec<f32> = data.into_vec().expect("named tensors are f32");
    let lines = values.chunks(order.len());
    let ordered = lines.flat_map(|line| order.iter().map(|column| line[*column]));
    TensorData::new(ordered.collect(), shape)
}
