import { headers } from "next/headers";
import { addressOf, currentUser } from "../people/auth.ts";
import type { Context } from "./trpc.ts";

/** The context of one request, from its session cookie and where it comes from. */
export async function createContext(): Promise<Context> {
  return { user: await currentUser(), ip: addressOf({ "x-forwarded-for": (await headers()).get("x-forwarded-for") ?? undefined }) };
}
