import { generateKeyPairSync, randomBytes } from "node:crypto";
import type { JWK } from "oidc-provider";
import { z } from "zod";
import { prisma, type Tx } from "../platform/db.ts";

/**
 * The keys of the authorization server, newest first: the first one signs, the
 * others still verify. Made once by the first server that needs them, kept in the
 * database and shared by all servers on it.
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
/** The one in use and the one before: no id_token or cookie of ours lives longer than two rotations. */
const KEPT = 2;

export async function oauthKeys(): Promise<Keys> {
  const { setting } = await prisma();
  const stored = await setting.findUnique({ where: { key: KEY } });
  if (stored !== null) return shape.parse(stored.value) as Keys;
  // ON CONFLICT DO NOTHING: of several servers that start at once one wins, and all read what it wrote.
  await setting.createMany({
    data: { key: KEY, value: { signing: [signingKey()], cookies: [cookieKey()] } as never },
    skipDuplicates: true,
  });
  return shape.parse((await setting.findUniqueOrThrow({ where: { key: KEY } })).value) as Keys;
}

/** Puts new keys in front and drops the oldest. Running servers notice within a minute. Says which key signs from now on. */
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
