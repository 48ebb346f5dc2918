"use client";

import { signIn } from "next-auth/react";
import { useState } from "react";
import { Button } from "#ui/button.tsx";
import { FormError } from "#ui/field.tsx";

const names = { google: "Google", github: "GitHub" } as const;

/** Google accepts `select_account` and refuses `login`; GitHub ignores an unknown value. */
const PROMPT_AGAIN = { google: "select_account", github: "login" } as const;

type Props = { providers: (keyof typeof names)[]; goTo: string; again?: boolean };

/**
 * Buttons to sign in, and at the first time up, through another provider; nothing when none is
 * configured. `again` asks the provider not to reuse its own session.
 */
export function ProviderButtons({ providers, goTo, again = false }: Props) {
  const [going, setGoing] = useState<string | null>(null);
  const [failed, setFailed] = useState(false);
  if (providers.length === 0) return null;

  async function go(provider: keyof typeof names) {
    setGoing(provider);
    setFailed(false);
    try {
      await signIn(provider, { callbackUrl: goTo }, again ? { prompt: PROMPT_AGAIN[provider] } : undefined);
    } catch {
      setGoing(null);
      setFailed(true);
    }
  }

  return (
    <div className="mt-6 space-y-3">
      {failed && <FormError>The server did not answer. Check your connection and try again.</FormError>}
      {providers.map((provider) => (
        <Button key={provider} className="w-full" unavailable={going !== null} onClick={() => go(provider)}>
          Continue with {names[provider]}
        </Button>
      ))}
      <p className="flex items-center gap-3 text-sm text-soft before:h-px before:flex-1 before:bg-line after:h-px after:flex-1 after:bg-line">
        or
      </p>
    </div>
  );
}
