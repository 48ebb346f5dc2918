import { currentUser } from "../auth.ts";
import type { Context } from "./trpc.ts";

/** The context of one request, from its session cookie. */
export async function createContext(): Promise<Context> {
  return { user: await currentUser() };
}
