//! The settings of feedback beyond those of every service: none so far.

use serde::{Deserialize, Serialize};

/// Feedback's own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {}
