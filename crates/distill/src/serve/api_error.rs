//! Refusals in OpenAI's shape.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{Body, json_response};
use super::job::Failure;

/// Why a request is not answered.
#[derive(Debug, PartialEq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
    kind: &'static str,
    /// Field of the request.
    param: Option<String>,
    code: Option<&'static str>,
    /// A header in lower case, and its value.
    header: Option<(&'static str, &'static str)>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            kind,
            param: None,
            code: None,
            header: None,
        }
    }

    /// 400, because of the field `param`.
    pub(super) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..Self::request(message)
        }
    }

    /// 400, because of the request as a whole.
    pub(super) fn request(message: impl Into<String>) -> Self {
        Self::of_client(StatusCode::BAD_REQUEST, message)
    }

    /// 400, because prompt and reply do not fit.
    pub(super) fn too_long(param: &'static str, message: String) -> Self {
        Self {
            code: Some("context_length_exceeded"),
            ..Self::field(param, message)
        }
    }

    pub(super) fn unauthorized() -> Self {
        let message = "wrong or no API key, expected `Authorization: Bearer KEY`";
        Self {
            code: Some("invalid_api_key"),
            header: Some(("www-authenticate", "Bearer")),
            ..Self::of_client(StatusCode::UNAUTHORIZED, message)
        }
    }

    /// 421: a name that is not this machine's.
    pub(super) fn misdirected() -> Self {
        Self::of_client(
            StatusCode::MISDIRECTED_REQUEST,
            "without a key, `Host` has to be `localhost` or an address",
        )
    }

    pub(super) fn unknown_path(path: &str) -> Self {
        Self::of_client(StatusCode::NOT_FOUND, format!("there is no `{path}`"))
    }

    pub(super) fn unknown_model(name: &str, known: &str) -> Self {
        Self {
            param: Some("model".into()),
            code: Some("model_not_found"),
            ..Self::of_client(
                StatusCode::NOT_FOUND,
                format!("the model `{name}` does not exist, expected `{known}`"),
            )
        }
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        Self {
            header: Some(("allow", allowed)),
            ..Self::of_client(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("wrong method, expected {allowed}"),
            )
        }
    }

    /// 408; what is left of the request is not read.
    pub(super) fn slow_client(seconds: u64) -> Self {
        Self {
            header: Some(("connection", "close")),
            ..Self::of_client(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {seconds} s"),
            )
        }
    }

    /// 413; what is left of the request is not read.
    pub(super) fn too_large(most: usize) -> Self {
        Self {
            header: Some(("connection", "close")),
            ..Self::of_client(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {most} bytes"),
            )
        }
    }

    /// 415: a page of another origin may send anything else without asking.
    pub(super) fn not_json() -> Self {
        Self::of_client(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected `Content-Type: application/json`",
        )
    }

    /// 429: as many replies run and wait as may.
    pub(super) fn busy() -> Self {
        Self {
            header: Some(("retry-after", "1")),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "too many replies run and wait, try again later",
            )
        }
    }

    /// 503: too many connections, or the server is about to end.
    pub(super) fn unavailable(message: &'static str) -> Self {
        Self {
            header: Some(("connection", "close")),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        }
    }

    /// 500: a panic, which the panic hook has shown.
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "the server failed, its log says more",
        )
    }

    fn of_client(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    pub(super) fn json(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }

    pub(super) fn response(self) -> Response<Body> {
        let mut response = json_response(self.status, &self.json());
        if let Some((name, value)) = self.header {
            let name = HeaderName::from_static(name);
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TimedOut => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "server_error",
                "the reply was not finished in time",
            ),
            Failure::Internal => Self::internal(),
        }
    }
}
