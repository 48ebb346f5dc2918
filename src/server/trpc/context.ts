import { headers } from "next/headers";
import { addressOf, currentUser } from "../people/auth.ts";
import type { Context } from "./trpc.ts";

/** The context of one request: the user of its session cookie, and the client's address. */
export async function createContext(): Promise<Context> {
  return { user: await currentUser(), ip: addressOf({ "x-forwarded-for": (await headers()).get("x-forwarded-for") ?? undefined }) };
}
