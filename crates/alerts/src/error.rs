//! What can be wrong with a webhook.

/// Why a webhook cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The signing secret is not one.
    #[error("the secret is not `whsec_` and base64")]
    Secret,
    /// The certificate authorities cannot be read.
    #[error("the certificate authorities of the webhook cannot be read")]
    Authorities,
}
