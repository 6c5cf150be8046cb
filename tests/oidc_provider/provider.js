// An OpenID provider for journeys: `node provider.js CONFIGURATION.json`, on https, until it is told to stop.
// It prints "ready" when it listens. The configuration is written by tests/journeys/oidc_provider.py.
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

import { Provider, errors } from 'oidc-provider';

const configuration = JSON.parse(readFileSync(process.argv[2], 'utf-8'));

const provider = new Provider(configuration.issuer, {
  jwks: configuration.jwks,
  clients: configuration.clients,
  extraTokenClaims: (_, token) => configuration.claims[token.clientId],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      getCertificate: (ctx) => {
        const { raw } = ctx.socket.getPeerCertificate();
        return raw && new X509Certificate(raw);
      },
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => {
        const known = configuration.resources[resource];
        if (known === undefined) throw new errors.InvalidTarget();
        return {
          accessTokenFormat: 'jwt',
          accessTokenTTL: known.seconds,
          audience: resource,
          jwt: { sign: { alg: known.algorithm } },
          scope: 'chat',
        };
      },
    },
  },
});

const tls = {
  ca: readFileSync(configuration.ca),
  cert: readFileSync(configuration.certificate),
  key: readFileSync(configuration.certificate),
  rejectUnauthorized: false, // callers without a certificate get tokens that are bound to none
  requestCert: true,
};
createServer(tls, provider.callback()).listen(configuration.port, '127.0.0.1', () => console.log('ready'));
