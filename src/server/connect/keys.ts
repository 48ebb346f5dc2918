import { generateKeyPairSync, randomBytes } from "node:crypto";
import type { JWK } from "oidc-provider";
import { z } from "zod";
import { prisma, type Tx } from "../platform/db.ts";

/**
 * The keys of the authorization server, newest first: the first one signs, the others
 * only verify. The first server that needs them stores them in the database, for all
 * servers on it.
 */
export type Keys = {
  /** Private RSA keys. RS256, because every OpenID Connect library has it. */
  signing: JWK[];
  /** Sign cookies and the consent form. */
  cookies: string[];
};

const shape = z.object({
  signing: z.array(z.looseObject({ kty: z.string(), kid: z.string() })).min(1),
  cookies: z.array(z.string()).min(1),
});
const KEY = "oauth_keys";
/** The current key and the one before, which verifies id_tokens and cookies made before the last rotation. */
const KEPT = 2;

export async function oauthKeys(): Promise<Keys> {
  const { setting } = await prisma();
  const stored = await setting.findUnique({ where: { key: KEY } });
  if (stored !== null) return shape.parse(stored.value) as Keys;
  // ON CONFLICT DO NOTHING: when several servers start at once, one inserts, and all read its row.
  await setting.createMany({
    data: { key: KEY, value: { signing: [signingKey()], cookies: [cookieKey()] } as never },
    skipDuplicates: true,
  });
  return shape.parse((await setting.findUniqueOrThrow({ where: { key: KEY } })).value) as Keys;
}

/** Puts new keys in front and drops the oldest. Running servers use them within a minute. Returns the id of the signing key. */
export async function rotateKeys(tx: Tx): Promise<string> {
  const [row] = await tx.prisma.$queryRaw<{ value: unknown }[]>`SELECT value FROM setting WHERE key = ${KEY} FOR UPDATE`;
  const old = row === undefined ? { signing: [], cookies: [] } : (shape.parse(row.value) as Keys);
  const made = signingKey();
  const value = { signing: [made, ...old.signing].slice(0, KEPT), cookies: [cookieKey(), ...old.cookies].slice(0, KEPT) } as never;
  await tx.prisma.setting.upsert({ where: { key: KEY }, create: { key: KEY, value }, update: { value } });
  return String(made.kid);
}

function signingKey(): JWK {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomBytes(12).toString("base64url"), alg: "RS256", use: "sig" } as JWK;
}

function cookieKey(): string {
  return randomBytes(32).toString("base64url");
}
