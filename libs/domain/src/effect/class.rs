//! What a request to the marketplace is for, in the order of its importance.

/// Importance of a request, highest first. Classes below delivery are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Reading the marketplace for news.
    Search,
    /// Reading what is about to be acted on.
    Confirm,
    /// Bidding.
    Propose,
    /// Files of a delivery.
    Upload,
    /// Talking to clients.
    Message,
    /// Handing over work.
    Deliver,
}

impl Class {
    /// The word in metrics and grants.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Confirm => "confirm",
            Self::Propose => "propose",
            Self::Upload => "upload",
            Self::Message => "message",
            Self::Deliver => "deliver",
        }
    }

    /// Whether it changes nothing on the platform.
    #[must_use]
    pub fn is_read(self) -> bool {
        self <= Self::Confirm
    }

    /// Whether it may spend the last part of the request budget.
    #[must_use]
    pub fn may_use_reserve(self) -> bool {
        self >= Self::Upload
    }

    /// Whether requests of this class are spread over the minute. A delivery and the files that go before it are not:
    /// work that is ready goes out at once.
    #[must_use]
    pub fn is_paced(self) -> bool {
        !matches!(self, Self::Deliver | Self::Upload)
    }
}
