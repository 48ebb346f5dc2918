import type { Database } from "../server/platform/db.ts";

/**
 * A fault put into a function of the database, to test that a test fails with it: in `signature`, the
 * occurrence number `index` of `from` becomes `to`. `npm run mutate:payers` hands one to a test run in QUOTA_MUTANT.
 */
export type Mutant = { signature: string; from: string; to: string; index: number };

/** The functions of the schema `public`: signatures, and CREATE statements. */
export async function functionsOf(db: Database): Promise<{ signature: string; definition: string }[]> {
  const text = `SELECT p.oid::regprocedure::text AS signature, pg_get_functiondef(p.oid) AS definition FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f' ORDER BY 1`;
  const rows = await db.sql.query({ name: "test_functions", text }, []);
  return rows.map(({ signature, definition }) => ({ signature: String(signature), definition: String(definition) }));
}

/** Applies the mutant in QUOTA_MUTANT, if there is one. */
export async function mutate(db: Database): Promise<void> {
  if (process.env.QUOTA_MUTANT === undefined) return;
  const { signature, from, to, index } = JSON.parse(process.env.QUOTA_MUTANT) as Mutant;
  const definition = (await functionsOf(db)).find((each) => each.signature === signature)?.definition;
  const parts = definition?.split(from) ?? [];
  if (index + 1 >= parts.length) throw new Error(`${signature} has no ${from} with the number ${index}`);
  await db.prisma.$executeRawUnsafe(parts.slice(0, index + 1).join(from) + to + parts.slice(index + 1).join(from));
}
