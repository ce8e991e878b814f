//! Reading a statement part by part.

use super::tokens::Token;

/// What is left to be read of a statement.
#[derive(Clone, Debug)]
pub(crate) struct Rest<'t>(&'t [Token]);

impl<'t> Rest<'t> {
    pub(crate) fn of(tokens: &'t [Token]) -> Self {
        Self(tokens)
    }

    pub(crate) fn peek(&self) -> Option<&'t Token> {
        self.0.first()
    }

    pub(crate) fn next(&mut self) -> Option<&'t Token> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Whether nothing is left.
    pub(crate) fn is_over(&self) -> bool {
        self.0.iter().all(|token| *token == Token::Sign(';'))
    }

    /// The next word in upper case, if it is one of the language.
    pub(crate) fn upper(&self) -> String {
        self.upper_at(0)
    }

    /// The same of a later one.
    pub(crate) fn upper_at(&self, at: usize) -> String {
        match self.0.get(at) {
            Some(Token::Word(word)) => word.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    /// Takes these words if they come next.
    pub(crate) fn words(&mut self, words: &[&str]) -> bool {
        let is_there = words
            .iter()
            .enumerate()
            .all(|(at, word)| matches!(self.0.get(at), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word)));
        if is_there {
            self.0 = &self.0[words.len()..];
        }
        is_there
    }

    /// Whether these words stand one after the other in what is left.
    pub(crate) fn has(&self, words: &[&str]) -> bool {
        self.0.windows(words.len()).any(|window| Rest::of(window).words(words))
    }

    /// Takes one word of several.
    pub(crate) fn one_of(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.words(&[word]))
    }

    /// Takes a sign if it comes next.
    pub(crate) fn sign(&mut self, sign: char) -> bool {
        let is_there = self.peek() == Some(&Token::Sign(sign));
        if is_there {
            self.next();
        }
        is_there
    }

    pub(crate) fn is_sign(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    /// The name that comes next, with quotes or without.
    pub(crate) fn name(&mut self) -> Option<String> {
        match self.next()? {
            Token::Word(name) | Token::Name(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// A name or a text, as character sets are named.
    pub(crate) fn name_or_text(&mut self) -> Option<String> {
        match self.next()? {
            Token::Word(name) | Token::Name(name) | Token::Text(name) => Some(name.clone()),
            _ => None,
        }
    }

    pub(crate) fn number(&mut self) -> Option<u32> {
        match self.next()? {
            Token::Number(number) => number.parse().ok(),
            _ => None,
        }
    }

    /// Passes over what is in brackets.
    pub(crate) fn group(&mut self) -> Option<()> {
        self.sign('(').then_some(())?;
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next()? {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }

    /// Passes over everything up to the next comma that is in no brackets, or to partitions, which come behind without one.
    /// Gives what was passed over.
    pub(crate) fn up_to_next(&mut self) -> &'t [Token] {
        let all = self.0;
        while !self.is_over() && !self.is_sign(',') && !matches!(self.upper().as_str(), "PARTITION" | "REMOVE") {
            if !self.is_sign('(') {
                self.next();
            } else if self.group().is_none() {
                self.0 = &[];
            }
        }
        &all[..all.len() - self.0.len()]
    }
}
