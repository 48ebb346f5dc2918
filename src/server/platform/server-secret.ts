import { randomBytes } from "node:crypto";
import { env } from "#env";
import { prisma } from "./db.ts";

let remembered: Promise<string> | undefined;

/**
 * The key that signs sessions and encrypts stored secrets: NEXTAUTH_SECRET, or a random one that
 * the first server stored in the database and all servers share.
 */
export function serverSecret(): Promise<string> {
  if (env.NEXTAUTH_SECRET !== undefined) return Promise.resolve(env.NEXTAUTH_SECRET);
  remembered ??= sharedSecret().catch((error) => {
    // The next call asks the database again.
    remembered = undefined;
    throw error;
  });
  return remembered;
}

async function sharedSecret(): Promise<string> {
  const { setting } = await prisma();
  const key = "session_secret";
  const stored = await setting.findUnique({ where: { key } });
  if (typeof stored?.value === "string") return stored.value;
  // skipDuplicates is ON CONFLICT DO NOTHING: of several servers that start at once one inserts, and all read its row.
  await setting.createMany({ data: { key, value: randomBytes(32).toString("base64url") }, skipDuplicates: true });
  const { value } = await setting.findUniqueOrThrow({ where: { key } });
  if (typeof value !== "string") throw new Error("the setting session_secret is not a text");
  return value;
}
