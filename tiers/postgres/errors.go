package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a failure means, and words for it that hold no secret. The server's own
// words are never repeated, for they may echo the values of a row, nor are the
// errors that carry the connection's configuration: only SQLSTATE and a text of
// this file. So a failure is wrapped by class, not by cause.

// SQLSTATEs raised by the schema, and those that several places know.
const (
	stateHistory   = "ZF001"
	stateConflict  = "ZF002"
	stateIsolation = "ZF003"
	stateGrant     = "42501"
	stateReadOnly  = "25006"
	stateNull      = "23502" // a row has no revision, which the triggers would have given it
	stateStatement = "26000" // of a pooler that lends another session within a transaction (R49)
)

const emptyEpoch = "table fastopt.epoch is empty: restore its row, or drop the schema and run postgres.Migrate"

// remedy says what a code means, for the codes that an operator will meet.
var remedy = map[string]string{
	"22P02":        "the value is not valid JSON",
	"22021":        "invalid UTF-8 or NUL in a text",
	"22P05":        "the database cannot store a character: its encoding has to be UTF8",
	stateReadOnly:  "the server, or the role, is set to read only",
	stateStatement: "the session lost a statement",
	"28P01":        "wrong password",
	"28000":        "the server accepts no such role from here",
	"3D000":        "the database does not exist",
	"3F000":        "the schema fastopt is missing: run postgres.Migrate",
	"40001":        "serialization failure",
	"40P01":        "deadlock",
	stateGrant:     "a grant is missing: postgres.Roles lists them",
	"42703":        "the schema fastopt is not the expected one: run postgres.Migrate",
	"42704":        "the server knows no such parameter or object: is one in the URL that is not Postgres' own, such as pool_max_conns?",
	"42883":        "the schema fastopt is not the expected one: run postgres.Migrate",
	"42P01":        "the schema fastopt is missing: run postgres.Migrate",
	"P0002":        emptyEpoch,
	"53300":        "too many connections",
	"55P03":        "lock timeout: another session holds a lock that writers need",
	"57014":        "statement timeout or cancelled",
	"57P01":        "the server shuts down",
	"57P03":        "the server starts up or shuts down",
	stateHistory:   "not the primary of the recorded history",
	stateConflict:  "a stamp is not current",
	stateIsolation: "behind a pooler the role needs: ALTER ROLE … SET default_transaction_isolation = 'read committed'",
}

// describe gives a text for code, and its class among the errors of package
// tiers: nil if the request itself is at fault.
func describe(code string) (text string, class error) {
	text = "SQLSTATE " + code
	if r, ok := remedy[code]; ok {
		text = r + " (" + text + ")"
	}
	switch {
	case code == stateHistory:
		return text, errHistory
	case code == stateConflict:
		return text, tiers.ErrConflict
	case strings.HasPrefix(code, "28"), strings.HasPrefix(code, "42"), code == "3D000", code == "3F000", code == "P0002", code == stateIsolation:
		return text, tiers.ErrSetup
	case strings.HasPrefix(code, "22"), strings.HasPrefix(code, "23"), strings.HasPrefix(code, "54"):
		return text, nil
	}
	return text, tiers.ErrUnavailable
}

// fault returns err, a failure of op, as an error of package tiers; nil for nil.
func fault(op string, err error) error {
	if err == nil {
		return nil
	}
	class := classOf(err)
	if class == nil {
		class = tiers.ErrUnavailable // no request of this package but a write can be at fault
	}
	return wrap(op, class, err)
}

// wrap makes an error of class, which may be nil, saying what err means.
func wrap(op string, class, err error) error {
	switch {
	case isOurs(err):
		return fmt.Errorf("postgres: %s: %w", op, err)
	case class == nil:
		return fmt.Errorf("postgres: %s: %s", op, text(err))
	}
	for _, cause := range []error{context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, cause) {
			return fmt.Errorf("postgres: %s: %w: %w", op, class, &worded{text(err), cause})
		}
	}
	return fmt.Errorf("postgres: %s: %w: %s", op, class, text(err))
}

// worded is an error with a text of its own.
type worded struct {
	text string
	err  error
}

func (w *worded) Error() string { return w.text }
func (w *worded) Unwrap() error { return w.err }

// isOurs: err was made in this package, so that it may be repeated as it is.
func isOurs(err error) bool {
	for _, class := range []error{tiers.ErrUnavailable, tiers.ErrSetup, tiers.ErrConflict, tiers.ErrReadOnly} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// classOf gives the class of a failure, nil if the request is at fault.
func classOf(err error) error {
	var pe *pgconn.PgError
	var untrusted *tls.CertificateVerificationError
	switch {
	case refusesSettings(err):
		return tiers.ErrSetup
	case errors.As(err, &pe):
		_, class := describe(pe.Code)
		return class
	case errors.As(err, &untrusted), strings.Contains(err.Error(), "server refused TLS"):
		return tiers.ErrSetup
	case errors.Is(err, pgx.ErrNoRows):
		return tiers.ErrSetup
	}
	return tiers.ErrUnavailable
}

// notPrimary reports whether another server may be the right one to ask.
func notPrimary(err error) bool {
	code := codeOf(err)
	return code == stateHistory || code == stateReadOnly || errors.Is(err, errHistory)
}

// codeOf returns the SQLSTATE of err, "" if the server did not say it.
func codeOf(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

// text says what happened, without a value, a password or a URL.
func text(err error) string {
	var pe *pgconn.PgError
	var connecting *pgconn.ConnectError
	var untrusted *tls.CertificateVerificationError
	switch {
	case refusesSettings(err):
		return "a pooler refuses a parameter of the URL: take it out, or add it to the pooler's ignore_startup_parameters (SQLSTATE 08P01)"
	case errors.As(err, &pe):
		text, _ := describe(pe.Code)
		return text
	case errors.As(err, &untrusted):
		return "the server's certificate is not trusted: see sslrootcert and sslmode"
	case errors.Is(err, pgx.ErrNoRows):
		return emptyEpoch
	case errors.As(err, &connecting): // its own text names role and database
		return "connect: " + strings.ReplaceAll(errors.Unwrap(connecting).Error(), "\n", "; ")
	}
	return err.Error()
}
