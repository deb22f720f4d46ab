//! Says for how long authorities and certificates are valid.

use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// For how long authorities and certificates are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lives {
    authority: Duration,
    certificate: Duration,
}

/// Why authorities and certificates can't be valid for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LivesError {
    /// A certificate would expire before it could be renewed.
    #[error(
        "--webhook-certificate-life (webhook.certificateLife of the chart) must be at least 10s"
    )]
    TooShort,
    /// A certificate could outlive the authority that signed it.
    #[error(
        "--webhook-authority-life must be at least three times --webhook-certificate-life (webhook.authorityLife and \
         webhook.certificateLife of the chart)"
    )]
    Outlived,
}

impl Default for Lives {
    fn default() -> Self {
        Self { authority: 365 * DAY, certificate: 90 * DAY }
    }
}

impl Lives {
    /// Lives of these lengths. An authority signs until its last third begins, so what it signed last must
    /// fit into that.
    ///
    /// # Errors
    ///
    /// Fails where no rotation without a gap is possible.
    pub fn new(authority: Duration, certificate: Duration) -> Result<Self, LivesError> {
        if certificate < Duration::from_secs(10) {
            Err(LivesError::TooShort)
        } else if authority < 3 * certificate {
            Err(LivesError::Outlived)
        } else {
            Ok(Self { authority, certificate })
        }
    }

    pub(super) const fn authority(self) -> Duration {
        self.authority
    }

    pub(super) const fn certificate(self) -> Duration {
        self.certificate
    }

    /// How far before its making a certificate is valid already, for clocks that are behind.
    pub(super) fn backdated(self) -> Duration {
        Duration::from_hours(1).min(self.certificate / 4)
    }

    /// How long the API server is given to learn of an authority before a certificate of it is served.
    pub(super) fn settling(self) -> Duration {
        Duration::from_mins(10).min(self.certificate / 6)
    }

    /// How often it is looked whether all is in order. An upgrade may take the authorities away, and no pod
    /// is injected until they are back.
    pub(super) fn interval(self) -> Duration {
        Duration::from_secs(10).min(self.certificate / 12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_that_leave_no_time_to_renew_are_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(Lives::new(60 * second, 9 * second), Err(LivesError::TooShort));
        assert_eq!(Lives::new(29 * second, 10 * second), Err(LivesError::Outlived));
        assert!(Lives::new(30 * second, 10 * second).is_ok());
        let Lives { authority, certificate } = Lives::default();
        assert!(Lives::new(authority, certificate).is_ok());
    }
}
