import type { Sql } from "../platform/sql.ts";

export type TransferReason = "top_up" | "grant" | "funding" | "allowance" | "refund" | "correction" | "payout";

export type Transfer = {
  /** A UUID chosen by the caller, for idempotency: a second transfer with this id changes nothing. */
  id: string;
  debitId: string;
  creditId: string;
  /** Credits, above zero. */
  amount: bigint;
  reason: TransferReason;
  description?: string | undefined;
};

/**
 * Moves credits from one account to another in the caller's transaction.
 * `duplicate`: a transfer with this id exists already, nothing moved.
 * `insufficient`: the debited account cannot pay, nothing moved.
 */
export async function transfer(tx: Sql, move: Transfer): Promise<"applied" | "duplicate" | "insufficient"> {
  if (move.amount <= 0n) throw new RangeError("a transfer moves more than nothing");
  const [row] = await tx.query(transferStatement, [
    move.id,
    move.debitId,
    move.creditId,
    move.amount,
    move.reason,
    move.description ?? null,
  ]);
  const outcome = row?.outcome;
  if (outcome === "insufficient") {
    // A concurrent transfer with this id may have committed while this statement waited
    // for the account's lock; only a later statement sees its row.
    const [same] = await tx.query(existsStatement, [move.id]);
    return same === undefined ? "insufficient" : "duplicate";
  }
  if (outcome === "applied" || outcome === "duplicate") return outcome;
  throw new Error(`transfer between unknown accounts ${move.debitId} and ${move.creditId}`);
}

/** Whether the existing transfer with this id has the same accounts, amount, reason and description. */
export async function isSameTransfer(tx: Sql, move: Transfer): Promise<boolean> {
  const [same] = await tx.query(sameStatement, [move.id, move.debitId, move.creditId, move.amount, move.reason, move.description ?? null]);
  return same !== undefined;
}

const sameStatement = {
  name: "ledger_transfer_same",
  text: `
    SELECT 1 AS found FROM transfer WHERE id = $1::uuid AND debit_id = $2::uuid AND credit_id = $3::uuid AND amount = $4::bigint
      AND reason = $5::text::transfer_reason AND description IS NOT DISTINCT FROM $6::text`,
};

const existsStatement = { name: "ledger_transfer_exists", text: `SELECT 1 AS found FROM transfer WHERE id = $1::uuid` };

// Locks bounded accounts in id order, like every ledger statement, so that two of
// them can't deadlock; platform accounts are never locked. New balances
// are absolute values from the locked rows: Postgres would check an `available - x`
// against the row as it was before the lock.
const transferStatement = {
  name: "ledger_transfer",
  text: `
    WITH lk AS MATERIALIZED (
      SELECT a.id, a.available FROM account a
      WHERE a.id = ANY (ARRAY[$2::uuid, $3::uuid]) AND a.bounded ORDER BY a.id FOR NO KEY UPDATE OF a),
    checked AS MATERIALIZED (
      SELECT d.id AS debit_id, c.id AS credit_id, c.kind = 'earnings' OR NOT c.bounded AS credit_summed, d.bounded AS debit_locked,
        NOT d.bounded OR (SELECT lk.available FROM lk WHERE lk.id = d.id) >= $4::bigint AS covered
      FROM account d, account c WHERE d.id = $2::uuid AND c.id = $3::uuid),
    entered AS (
      INSERT INTO transfer (id, debit_id, credit_id, amount, reason, description)
      SELECT $1::uuid, debit_id, credit_id, $4::bigint, $5::text::transfer_reason, $6::text FROM checked WHERE covered
      ON CONFLICT (id) DO NOTHING RETURNING id),
    moved AS MATERIALIZED (
      SELECT debit_id AS id, -($4::bigint) AS amount, NOT debit_locked AS summed FROM checked, entered
      UNION ALL SELECT credit_id, $4::bigint, credit_summed FROM checked, entered),
    summed AS (
      INSERT INTO account_delta (batch_id, account_id, amount) SELECT $1::uuid, id, amount FROM moved WHERE summed),
    updated AS (
      UPDATE account a SET available = lk.available + m.amount FROM moved m JOIN lk ON lk.id = m.id
      WHERE a.id = m.id AND a.id = ANY (ARRAY[$2::uuid, $3::uuid]) AND NOT m.summed)
    SELECT CASE WHEN EXISTS (SELECT 1 FROM entered) THEN 'applied'
      WHEN EXISTS (SELECT 1 FROM transfer t WHERE t.id = $1::uuid) THEN 'duplicate'
      WHEN NOT covered THEN 'insufficient' ELSE 'duplicate' END AS outcome
    FROM checked`,
};
