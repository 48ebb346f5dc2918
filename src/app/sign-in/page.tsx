import type { Metadata } from "next";
import Link from "next/link";
import { redirect } from "next/navigation";
import { publicUrl } from "#env";
import { currentUser } from "#server/people/auth.ts";
import { callbackPath } from "#server/people/callback-path.ts";
import { configuredProviders } from "#server/people/sign-in-providers.ts";
import { EntryPage } from "#ui/entry-page.tsx";
import { ProviderButtons } from "./provider-buttons.tsx";
import { SignInForm } from "./sign-in-form.tsx";

export const metadata: Metadata = { title: "Sign in" };

type Search = { callbackUrl?: string | string[]; error?: string | string[]; again?: string | string[] };

export default async function SignIn({ searchParams }: { searchParams: Promise<Search> }) {
  const { callbackUrl, error, again } = await searchParams;
  const goTo = callbackPath(callbackUrl, publicUrl(), "/wallet");
  const user = await currentUser();
  // An app may ask for a new sign-in (`prompt=login`) of a user who has a session.
  if (user !== null && again === undefined) redirect(goTo);
  const providers = configuredProviders().map(({ id }) => id);
  return (
    <EntryPage
      title={user === null ? "Sign in to Quota" : "Sign in again"}
      below={
        <>
          {user === null && (
            <p>
              New here?{" "}
              <Link href={`/sign-up?callbackUrl=${encodeURIComponent(goTo)}`} className="prose-link">
                Make an account
              </Link>
            </p>
          )}
          <p>
            <Link href="/forgot-password" className="prose-link">
              Forgot your password?
            </Link>
          </p>
        </>
      }
    >
      <p className="mt-1 text-soft">
        {user === null
          ? "One account for your wallet and your apps."
          : goTo.startsWith("/connect/")
            ? "The app that sent you here asks you to show that it is you."
            : "Show that it is you before you go on."}
      </p>
      <ProviderButtons providers={providers} goTo={goTo} again={user !== null} />
      <SignInForm goTo={goTo} problem={problemOf(error)} email={user?.email} />
    </EntryPage>
  );
}

/** The sentence for an error code of another provider or of next-auth. */
function problemOf(error: unknown): string | null {
  if (typeof error !== "string" || error === "SessionRequired") return null;
  if (error === "unverified_email") return "That account has no verified email address. Verify it there, or sign in with a password here.";
  if (error === "AccessDenied" || error === "OAuthCallback")
    return "Signing in there was cancelled or did not work. Try again, or sign in with a password.";
  return "Signing in did not work. Try again in a moment.";
}
