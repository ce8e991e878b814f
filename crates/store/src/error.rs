//! What goes wrong in the metadata.

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What goes wrong in the metadata.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or could not be reached.
    #[error("the metadata database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A migration failed.
    #[error("migrating the metadata database failed: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A newer program brought the database forward.
    #[error(
        "a newer Wavemark brought the metadata database forward, and this older one can't read it: run the newer one, \
         or restore the metadata from a backup that was made before"
    )]
    Newer,
    /// A stored value is not what this program writes.
    #[error("the metadata holds {what}, which this program can't read")]
    Unreadable {
        /// What it is.
        what: String,
    },
    /// A secret was sealed with a key that the keyring does not have.
    #[error("a secret is sealed with key \"{key_id}\", which the keyring does not have")]
    KeyMissing {
        /// Which key.
        key_id: String,
    },
    /// A sealed secret does not open: wrong key, or moved from another record.
    #[error("a secret sealed with key \"{key_id}\" does not open: the key is another, or the record was changed")]
    Sealed {
        /// Which key.
        key_id: String,
    },
    /// The keyring can't be read.
    #[error("the keyring can't be read: {0}")]
    Keyring(String),
}

impl Error {
    /// What is stored can't be read.
    pub(crate) fn unreadable(what: impl Into<String>) -> Self {
        Self::Unreadable { what: what.into() }
    }

    /// Whether a unique constraint refused the statement.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether a foreign key refused the statement.
    #[must_use]
    pub fn is_still_used(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_foreign_key_violation())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::unreadable(format!("JSON of another shape ({error})"))
    }
}
