"use client";

import { QueryClient, type QueryClientConfig, QueryClientProvider } from "@tanstack/react-query";
import { createTRPCReact, httpBatchLink, TRPCClientError } from "@trpc/react-query";
import type { inferRouterOutputs } from "@trpc/server";
import { type ReactNode, useState } from "react";
import superjson from "superjson";
import type { AppRouter } from "#server/trpc/root.ts";
import { MOST_IN_A_BATCH } from "./batch.ts";

export const trpc = createTRPCReact<AppRouter>();

/** The outputs of procedures, for the props of components. */
export type Answers = inferRouterOutputs<AppRouter>;

/**
 * A mutation without a connection fails at once. By default the client would pause it and send it
 * later, when the user may no longer want it.
 */
const options: QueryClientConfig = {
  defaultOptions: { queries: { networkMode: "always", refetchOnReconnect: true }, mutations: { networkMode: "always" } },
};

export function TRPCProvider({ children }: { children: ReactNode }) {
  const [queryClient] = useState(() => new QueryClient(options));
  const [client] = useState(() =>
    trpc.createClient({
      links: [httpBatchLink({ url: "/api/trpc", transformer: superjson, maxItems: MOST_IN_A_BATCH, fetch: fetchUnlessTooLarge })],
    }),
  );
  return (
    <trpc.Provider client={client} queryClient={queryClient}>
      <QueryClientProvider client={queryClient}>{children}</QueryClientProvider>
    </trpc.Provider>
  );
}

class TooLarge extends Error {}

/** The server refuses a body that is too large before tRPC sees it, with an answer that tRPC's client cannot parse. */
async function fetchUnlessTooLarge(url: URL | RequestInfo, options?: object): Promise<Response> {
  const response = await fetch(url, options);
  if (response.status === 413) throw new TooLarge();
  return response;
}

/** An error as a form shows it: a sentence for the form, and one for each field. */
export function failureOf(error: unknown): { message: string | null; fields: Record<string, string> } {
  if (error === null || error === undefined) return { message: null, fields: {} };
  if (error instanceof TRPCClientError) {
    if (error.cause instanceof TooLarge)
      return { message: "This is too much to send at once. Make it shorter, then try again.", fields: {} };
    const data = error.data as { code?: string; fields?: Record<string, string> | null } | undefined;
    if (data?.fields) return { message: null, fields: data.fields };
    if (data?.code === "UNAUTHORIZED") return { message: "Your session is over. Sign in again, then repeat this.", fields: {} };
    if (data?.code !== undefined) return { message: error.message, fields: {} };
  }
  return { message: "The server did not answer. Check your connection and try again.", fields: {} };
}
