//! Bodies of requests: bounded in bytes and in time.

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::api_error::ApiError;
use super::limits::Limits;

/// So many bytes over the limit are read and dropped: many clients look for a response only when all is sent.
const DRAINED_BYTES: usize = 16 << 20;

/// The body of a request that says it is JSON; what it holds is not looked at.
pub(super) async fn read_json(
    request: Request<Incoming>,
    limits: &Limits,
) -> Result<Vec<u8>, ApiError> {
    let most = limits.max_body_bytes;
    let header = |name| request.headers().get(name)?.to_str().ok();
    let is_json = header(CONTENT_TYPE).is_some_and(is_json);
    let length = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length.saturating_sub(most) > DRAINED_BYTES) {
        return Err(ApiError::too_large(most));
    }
    let mut body = request.into_body();
    let read = async {
        let (mut bytes, mut total) = (Vec::new(), 0usize);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::request("the body was cut short"))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            total += data.len();
            if total <= most {
                bytes.extend_from_slice(&data);
            } else if total - most > DRAINED_BYTES {
                return Err(ApiError::too_large(most));
            } else {
                bytes = Vec::new();
            }
        }
        match total > most {
            true => Err(ApiError::too_large(most)),
            false => Ok(bytes),
        }
    };
    let patience = limits.client_timeout;
    let read = tokio::time::timeout(patience, read).await;
    let bytes = read.map_err(|_| ApiError::slow_client(patience.as_secs()))??;
    match is_json {
        true => Ok(bytes),
        false => Err(ApiError::not_json()),
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}
