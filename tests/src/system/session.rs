//! Sessions that stay open and answer in text, at whichever system: PostgreSQL by its simple protocol, the others by their
//! own client with its input and output held.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// How somebody connects, again and again.
#[derive(Clone, Debug)]
pub enum Door {
    /// To PostgreSQL.
    Postgres(Box<Config>),
    /// By a client program of MySQL's family with these arguments.
    Family(OsString, Vec<OsString>),
}

impl From<Config> for Door {
    fn from(config: Config) -> Self {
        Self::Postgres(Box::new(config))
    }
}

impl Door {
    /// By a client that is ready to be started.
    pub(super) fn of_family(client: &Command) -> Self {
        Self::Family(client.get_program().to_owned(), client.get_args().map(ToOwned::to_owned).collect())
    }

    /// Connects.
    ///
    /// # Errors
    /// The server is not there.
    pub async fn open(&self) -> Result<Session> {
        match self {
            Self::Postgres(config) => {
                let (client, connection) = config.connect(NoTls).await.context("connecting to PostgreSQL")?;
                // The connection's end shows as an error of the next statement.
                tokio::spawn(connection);
                Ok(Session::Postgres(client))
            }
            Self::Family(program, arguments) => {
                let mut session = Family::start(program, arguments)?;
                // The client connects when it likes; whoever holds a session has one.
                session.rows("SELECT 1").await?;
                Ok(Session::Family(Box::new(session)))
            }
        }
    }
}

/// A statement that gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{text}, running: {sql}")]
pub struct Refused {
    /// The server's own code (SQLSTATE, or the number of an error); `None` when the connection is lost.
    pub code: Option<String>,
    text: String,
    sql: String,
}

/// One session.
pub enum Session {
    /// At PostgreSQL.
    Postgres(Client),
    /// At a server of MySQL's family. After an error there is nobody to ask any more, and what was open is rolled back.
    Family(Box<Family>),
}

impl From<Client> for Session {
    fn from(client: Client) -> Self {
        Self::Postgres(client)
    }
}

impl Session {
    /// Runs statements, separated by semicolons, up to the first that fails; the rows of all of them, each with a tab between
    /// its columns, NULL as `NULL`.
    ///
    /// # Errors
    /// One fails, or the connection is lost.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<String>, Refused> {
        match self {
            Self::Postgres(client) => postgres(client, sql).await,
            Self::Family(client) => client.rows(sql).await,
        }
    }

    /// The first row of a statement that gives one, column by column.
    ///
    /// # Errors
    /// It fails or gives none.
    pub async fn row(&mut self, sql: &str) -> Result<Vec<String>> {
        let rows = self.rows(sql).await?;
        let row = rows.first().with_context(|| format!("no row of: {sql}"))?;
        Ok(row.split('\t').map(str::to_owned).collect())
    }

    /// The only value of a statement that gives a number.
    ///
    /// # Errors
    /// It fails or gives something else.
    pub async fn number(&mut self, sql: &str) -> Result<i64> {
        let row = self.row(sql).await?;
        row[0].parse().with_context(|| format!("{} is no number, of: {sql}", row[0]))
    }

    /// How the bytes of a column are asked for in hexadecimal.
    pub fn hex(&self, column: &str) -> String {
        match self {
            Self::Postgres(_) => format!("encode({column}, 'hex')"),
            Self::Family(_) => format!("hex({column})"),
        }
    }

    /// Whether nobody answers any more.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Postgres(client) => client.is_closed(),
            Self::Family(client) => client.is_lost,
        }
    }
}

async fn postgres(client: &Client, sql: &str) -> Result<Vec<String>, Refused> {
    let messages = client.simple_query(sql).await.map_err(|error| Refused {
        code: error.code().map(|code| code.code().to_owned()).filter(|_| !client.is_closed()),
        text: format!("{error:?}"),
        sql: sql.to_owned(),
    })?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            let columns: Vec<_> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
            Some(columns.join("\t"))
        }
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

/// A client program of MySQL's family.
pub struct Family {
    client: Child,
    asked: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    complaints: ChildStderr,
    asks: u64,
    is_lost: bool,
}

impl Family {
    fn start(program: &OsString, arguments: &[OsString]) -> Result<Self> {
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).args(["--batch", "--skip-column-names", "--unbuffered", "--skip-reconnect"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut client = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let asked = client.stdin.take().context("a client has an input")?;
        let answers = BufReader::new(client.stdout.take().context("a client has an output")?).lines();
        let complaints = client.stderr.take().context("a client has an output for errors")?;
        Ok(Self { client, asked, answers, complaints, asks: 0, is_lost: false })
    }

    async fn rows(&mut self, sql: &str) -> Result<Vec<String>, Refused> {
        self.asks += 1;
        let end = format!("answer {} is whole", self.asks);
        // A client that is gone takes nothing; why it went it has said.
        let asked = format!("{sql};\nSELECT '{end}';\n");
        drop(self.asked.write_all(asked.as_bytes()).await);
        let mut rows = Vec::new();
        while let Ok(Some(line)) = self.answers.next_line().await {
            if line == end {
                return Ok(rows);
            }
            rows.push(line);
        }
        Err(self.refused(sql).await)
    }

    /// What the client said before it went.
    async fn refused(&mut self, sql: &str) -> Refused {
        self.is_lost = true;
        let mut said = Vec::new();
        drop(self.complaints.read_to_end(&mut said).await);
        drop(self.client.wait().await);
        let text = String::from_utf8_lossy(&said).trim().to_owned();
        let number = text.split("ERROR ").nth(1).and_then(|rest| rest.split([' ', ':']).next()).map(str::to_owned);
        // What the client itself says begins with a 2.
        let code = number.filter(|code| !code.starts_with('2'));
        Refused { code, text, sql: sql.to_owned() }
    }
}
