//! A folder as the published hybrids come (method section 10), ready to be pushed to a hub.

use std::path::Path;

use burn::tensor::TensorData;
use kernels::SsmBackend;
use serde_json::{Value, json};

use super::end_tokens;
use super::published_form::published_form;
use crate::chat_template::ChatTemplate;
use crate::error::ModelError;
use crate::files::write_new;
use crate::hybrid::HybridModel;
use crate::load::{
    CONFIG_JSON, CheckpointMeta, MAMBA_CONFIG_JSON, OWN_KEY, SavePrecision, StoredTensor,
    TOKENIZER_JSON, pretty, published_config, write_model_folder, write_safetensors,
};
use crate::tokenizer::Tokenizer;

const LM_HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// What a folder holds beside the weights.
#[derive(Debug)]
pub struct FolderExport<'a> {
    /// The tokenizer, where the model has one
    pub tokenizer: Option<&'a Tokenizer>,
    /// How conversations are written, where that is known
    pub template: Option<&'a ChatTemplate>,
    /// Where the model comes from
    pub meta: &'a CheckpointMeta,
    /// Hub name or folder of the Transformer that the published code builds the hybrid from
    pub base_model: Option<&'a str>,
    /// Files to add as they are, by name: a model card, or what came with the model; they win over those made here
    pub files: Vec<(String, Vec<u8>)>,
    /// Number format of the weights
    pub precision: SavePrecision,
    /// Most bytes of a file of weights; more are written as several with an index
    pub shard_bytes: usize,
}

/// Writes `model` into `folder` with the names, flags and files of the published hybrids: `config.json`, `mamba_config.json` (no
/// field but theirs), `model.safetensors`, and as far as they are known `tokenizer.json`, `tokenizer_config.json` and
/// `generation_config.json`.
///
/// Mamba1 mixers are written as the published quirks compute the same from them. A hybrid with a tied head gets the head as a tensor
/// too: the published code asks for every key. Written as a whole or not at all, as [`save`](crate::load::save) does.
///
/// # Errors
/// As [`save`](crate::load::save); [`ModelError::Config`] for a mixer that no published one can stand for.
pub fn export_folder<B: SsmBackend>(
    model: &HybridModel<B>,
    folder: &Path,
    export: FolderExport<'_>,
) -> Result<(), ModelError> {
    let config = model.config();
    let (ssm, mut tensors) = published_form(config, model.named_tensors())?;
    if ssm.is_some() && config.llama.tie_word_embeddings {
        let embedding = tensors.iter().find(|(key, _)| key == EMBEDDING);
        let head: Option<TensorData> = embedding.map(|(_, data)| data.clone());
        tensors.extend(head.map(|head| (LM_HEAD.to_owned(), head)));
    }
    write_model_folder(folder, |part| {
        let write_json = |name: &str, json: &Value| write_new(&part.join(name), &pretty(json));
        write_json(CONFIG_JSON, &config_json(model, &export))?;
        if let Some(ssm) = &ssm {
            write_json(MAMBA_CONFIG_JSON, &published_config(config, ssm))?;
        }
        let ends = end_tokens(config, export.template, export.tokenizer)?;
        let generation = json!({
            "_from_model_config": true,
            "bos_token_id": config.llama.bos_token_id,
            "eos_token_id": ends,
        });
        write_json("generation_config.json", &generation)?;
        if let Some(tokenizer) = export.tokenizer {
            let json = tokenizer.to_json()?;
            write_new(&part.join(TOKENIZER_JSON), json.as_bytes())?;
            let end = ends.last().copied();
            write_json(
                "tokenizer_config.json",
                &tokenizer_config(model, tokenizer, &export, end),
            )?;
        }
        let stored: Vec<StoredTensor> = tensors
            .into_iter()
            .map(|(key, data)| StoredTensor::new(key, data, export.precision))
            .collect::<Result<_, _>>()?;
        write_safetensors(part, &stored, export.shard_bytes)?;
        for (name, bytes) in &export.files {
            write_new(&part.join(name), bytes)?;
        }
        Ok(())
    })
}

fn config_json<B: SsmBackend>(model: &HybridModel<B>, export: &FolderExport<'_>) -> Value {
    let mut json = model.config().llama.to_hf();
    json["torch_dtype"] = json!(match export.precision {
        SavePrecision::F32 => "float32",
        SavePrecision::Bf16 => "bfloat16",
        SavePrecision::F16 => "float16",
    });
    if let Some(base_model) = export.base_model {
        json["_name_or_path"] = json!(base_model);
    }
    if *export.meta != CheckpointMeta::default() {
        json[OWN_KEY] = json!(export.meta);
    }
    json
}

/// What readers of `tokenizer.json` want to know beside it.
fn tokenizer_config<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: &Tokenizer,
    export: &FolderExport<'_>,
    end: Option<u32>,
) -> Value {
    let llama = &model.config().llama;
    let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
    let mut json = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": llama.max_position_embeddings,
        "clean_up_tokenization_spaces": false,
        "bos_token": token(llama.bos_token_id),
        "eos_token": token(end),
    });
    if let Some(template) = export.template {
        json["chat_template"] = json!(template.jinja_source());
    }
    json
}
