import { TRPCError } from "@trpc/server";
import { notFound } from "next/navigation";
import { cache } from "react";
import { createContext } from "./context.ts";
import { createCaller } from "./root.ts";

/** Procedures for server components: called directly, without an HTTP request. One caller per page request. */
export const caller = cache(async () => createCaller(await createContext()));

/** The app of a dashboard page, read once per page request; Next's not-found page when the signed-in user does not own it. */
export const appOfPage = cache(async (appId: string) => {
  try {
    return await (await caller()).apps.get({ appId });
  } catch (error) {
    if (error instanceof TRPCError && error.code === "NOT_FOUND") notFound();
    throw error;
  }
});
