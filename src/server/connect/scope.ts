import { AsyncLocalStorage } from "node:async_hooks";
import type { Prisma } from "../../generated/prisma/client.ts";
import { prisma, type Tx } from "../platform/db.ts";
import { processWide } from "../platform/process-wide.ts";
import type { GrantEnd } from "./grants.ts";

/**
 * What surrounds one request to the authorization server. oidc-provider calls our
 * storage without telling it about a transaction, so the transaction is found here.
 */
export type Surroundings = {
  tx?: Tx;
  endings?: Endings;
};

/** Grants that a request ends: why, and the links that lost one, which are looked at once that is committed. */
export type Endings = { reason: GrantEnd; bereft: Set<string> };

const surroundings = processWide("OAuth surroundings", () => new AsyncLocalStorage<Surroundings>());

/** Everything that the authorization server stores while `work` runs is part of `tx`. */
export function within<T>(tx: Tx, work: () => Promise<T>, endings?: Endings): Promise<T> {
  return surroundings.run({ tx, ...(endings === undefined ? {} : { endings }) }, work);
}

/** What the request that runs says of the grants it ends. */
export function endingsHere(): Endings | undefined {
  return surroundings.getStore()?.endings;
}

/** The database as the authorization server has to use it right now. */
export async function store(): Promise<Prisma.TransactionClient> {
  return surroundings.getStore()?.tx?.prisma ?? (await prisma());
}

export function inTransaction(): boolean {
  return surroundings.getStore()?.tx !== undefined;
}
