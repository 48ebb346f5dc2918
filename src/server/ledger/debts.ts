import { v7 as uuidv7 } from "uuid";
import type { Sql } from "../platform/sql.ts";
import { toBigInt } from "../platform/sql.ts";
import { platformAccount } from "./accounts.ts";
import { type TransferReason, transfer } from "./transfer.ts";

/**
 * What a wallet owes. A refund or dispute takes back credits that may be spent
 * already; a wallet is never negative, so what is missing becomes its debt. While it
 * owes, everything that comes in repays first and nothing is left to hold: the wallet
 * is frozen without a rule of its own on the way of a request.
 */

/**
 * Locks what the wallet owes for the rest of the transaction; the amount. Whoever locks
 * it and the wallet takes this first, so that two of them can't wait for each other.
 */
export async function lockDebt(tx: Sql, walletId: string): Promise<bigint> {
  const [row] = await tx.query(lockDebtStatement, [walletId]);
  return toBigInt(row?.amount);
}

const lockDebtStatement = {
  name: "ledger_lock_debt",
  text: `
    INSERT INTO debt (wallet_id, amount) VALUES ($1::uuid, 0)
    ON CONFLICT (wallet_id) DO UPDATE SET amount = debt.amount RETURNING amount`,
};

async function changeDebt(tx: Sql, walletId: string, by: bigint): Promise<void> {
  if (by !== 0n) await tx.query(changeDebtStatement, [walletId, by]);
}

const changeDebtStatement = {
  name: "ledger_change_debt",
  text: `UPDATE debt SET amount = amount + $2::bigint WHERE wallet_id = $1::uuid`,
};

/** What the wallet can pay right now; nobody takes it before the transaction ends. */
async function lockAvailable(tx: Sql, walletId: string): Promise<bigint> {
  const [row] = await tx.query(lockAvailableStatement, [walletId]);
  if (row === undefined) throw new Error(`no wallet ${walletId}`);
  return toBigInt(row.available);
}

const lockAvailableStatement = {
  name: "ledger_lock_available",
  text: `SELECT available FROM account WHERE id = $1::uuid AND bounded FOR NO KEY UPDATE`,
};

type Correction = { walletId: string; otherId: string; amount: bigint; reason: TransferReason; description: string };

/** Takes credits from a wallet for `otherId`: what is there, and the rest as a debt. Says how much was which. */
export async function takeBack(tx: Sql, { walletId, otherId, amount, reason, description }: Correction) {
  await lockDebt(tx, walletId);
  const available = await lockAvailable(tx, walletId);
  const taken = available < amount ? available : amount;
  const owed = amount - taken;
  await move(tx, { debitId: walletId, creditId: otherId, amount: taken, reason, description });
  await move(tx, { debitId: platformAccount.receivable, creditId: otherId, amount: owed, reason, description });
  await changeDebt(tx, walletId, owed);
  return { taken, owed };
}

/** The way back: lowers what the wallet owes and gives it the rest. Says how much was which. */
export async function giveBack(tx: Sql, { walletId, otherId, amount, reason, description }: Correction) {
  const debt = await lockDebt(tx, walletId);
  const forgiven = debt < amount ? debt : amount;
  const given = amount - forgiven;
  await move(tx, { debitId: otherId, creditId: platformAccount.receivable, amount: forgiven, reason, description });
  await changeDebt(tx, walletId, -forgiven);
  await move(tx, { debitId: otherId, creditId: walletId, amount: given, reason, description });
  return { given, forgiven };
}

/** Pays what the wallet owes, as far as it can; what it still owes. */
export async function repay(tx: Sql, walletId: string): Promise<bigint> {
  const debt = await lockDebt(tx, walletId);
  if (debt === 0n) return 0n;
  const available = await lockAvailable(tx, walletId);
  const amount = available < debt ? available : debt;
  await move(tx, {
    debitId: walletId,
    creditId: platformAccount.receivable,
    amount,
    reason: "correction",
    description: "Repays what a refund or dispute left open",
  });
  await changeDebt(tx, walletId, -amount);
  return debt - amount;
}

/** What a wallet owes, in credits. */
export async function debtOf(sql: Sql, walletId: string): Promise<bigint> {
  const [row] = await sql.query(debtStatement, [walletId]);
  return row === undefined ? 0n : toBigInt(row.amount);
}

const debtStatement = { name: "ledger_debt", text: `SELECT amount FROM debt WHERE wallet_id = $1::uuid` };

/**
 * The wallets that owe and could pay: credits came back from requests that were under
 * way, or were given to them. Whoever asks repays each in a transaction of its own.
 */
export async function walletsToCollect(sql: Sql): Promise<string[]> {
  const rows = await sql.query(collectStatement, []);
  return rows.map((row) => String(row.wallet_id));
}

const collectStatement = {
  name: "ledger_wallets_to_collect",
  text: `SELECT d.wallet_id FROM debt d JOIN account a ON a.id = d.wallet_id WHERE d.amount > 0 AND a.available > 0 LIMIT 500`,
};

async function move(
  tx: Sql,
  { amount, ...rest }: { debitId: string; creditId: string; amount: bigint; reason: TransferReason; description: string },
) {
  if (amount === 0n) return;
  const outcome = await transfer(tx, { id: uuidv7(), amount, ...rest });
  if (outcome !== "applied") throw new Error(`a correction was ${outcome}`);
}
