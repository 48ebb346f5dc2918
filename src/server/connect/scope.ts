import { AsyncLocalStorage } from "node:async_hooks";
import type { Prisma } from "../../generated/prisma/client.ts";
import { prisma, type Tx } from "../platform/db.ts";

/**
 * What surrounds one request to the authorization server. oidc-provider calls our
 * storage without telling it about a transaction, so the transaction is found here.
 */
export type Surroundings = { tx?: Tx };

// Next loads this file once for each of its bundles; the provider is made in one of them.
const shared = globalThis as unknown as { quotaOAuthSurroundings?: AsyncLocalStorage<Surroundings> };
shared.quotaOAuthSurroundings ??= new AsyncLocalStorage();
const surroundings = shared.quotaOAuthSurroundings;

/** Everything that the authorization server stores while `work` runs is part of `tx`. */
export function within<T>(tx: Tx, work: () => Promise<T>): Promise<T> {
  return surroundings.run({ tx }, work);
}

/** The database as the authorization server has to use it right now. */
export async function store(): Promise<Prisma.TransactionClient> {
  return surroundings.getStore()?.tx?.prisma ?? (await prisma());
}

export function inTransaction(): boolean {
  return surroundings.getStore()?.tx !== undefined;
}
