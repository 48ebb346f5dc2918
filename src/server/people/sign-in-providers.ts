import { z } from "zod";
import { env } from "#env";

/** Providers that users can sign in through. */
export type Provider = "google" | "github";

/** The providers that the operator has configured; sign-in shows a button for each. */
export function configuredProviders(): { id: Provider; clientId: string; clientSecret: string }[] {
  const all = [
    { id: "google", clientId: env.GOOGLE_CLIENT_ID, clientSecret: env.GOOGLE_CLIENT_SECRET },
    { id: "github", clientId: env.GITHUB_CLIENT_ID, clientSecret: env.GITHUB_CLIENT_SECRET },
  ] as const;
  return all.flatMap(({ id, clientId, clientSecret }) =>
    clientId === undefined || clientSecret === undefined ? [] : [{ id, clientId, clientSecret }],
  );
}

export function isProvider(id: string | undefined): id is Provider {
  return id === "google" || id === "github";
}

/** The address of the user who signs in, when the provider has verified it; else null. Throws when GitHub does not answer. */
export async function verifiedEmail(
  provider: Provider,
  profile: unknown,
  accessToken: string | undefined,
  ask: typeof fetch = fetch,
): Promise<string | null> {
  if (provider === "google") {
    const claims = z.object({ email: z.email(), email_verified: z.literal(true) }).safeParse(profile);
    return claims.success ? claims.data.email : null;
  }
  // GitHub's profile shows an address that its owner chose, verified or not; only this list tells verified ones.
  const answer = await ask("https://api.github.com/user/emails", {
    headers: { accept: "application/vnd.github+json", authorization: `Bearer ${accessToken}`, "user-agent": "Quota" },
    signal: AbortSignal.timeout(10_000),
  });
  if (!answer.ok) throw new Error(`GitHub answered ${answer.status} for the addresses of an account`);
  const emails = githubEmails.parse(await answer.json());
  return emails.find((each) => each.primary && each.verified)?.email ?? null;
}

const githubEmails = z.array(z.object({ email: z.string(), primary: z.boolean(), verified: z.boolean() }));
