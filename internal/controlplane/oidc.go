// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/datadir"
	"github.com/fairlead-dev/fairlead/internal/oidc"
)

// authenticationFile, in the data directory, is the structured authentication
// configuration of the API server. It is written anew at each start.
const authenticationFile = "authentication.yaml"

// trust writes the file that has the API server accept the ID tokens of c, and
// returns its path; empty if there is no provider.
func trust(dir *datadir.Dir, c oidc.Config) (string, error) {
	if !c.Enabled() {
		return "", nil
	}
	config, err := authentication(c)
	if err != nil {
		return "", err
	}
	data, err := yaml.Marshal(config)
	if err != nil {
		return "", err
	}
	path := dir.Join(authenticationFile)
	return path, atomicfile.WriteFile(path, data, 0o600)
}

// authentication says how an ID token becomes a user with groups.
func authentication(c oidc.Config) (*apiserverv1.AuthenticationConfiguration, error) {
	ca, err := c.CA()
	if err != nil {
		return nil, err
	}
	userPrefix, groupsPrefix := c.Prefixes()
	jwt := apiserverv1.JWTAuthenticator{
		Issuer: apiserverv1.Issuer{URL: c.IssuerURL, Audiences: []string{c.ClientID}, CertificateAuthority: string(ca)},
		ClaimMappings: apiserverv1.ClaimMappings{
			Username: apiserverv1.PrefixedClaimOrExpression{Claim: c.UsernameClaim, Prefix: &userPrefix},
		},
		// Whatever the prefixes are, the provider cannot make anybody one of those
		// whom Kubernetes itself trusts, such as system:masters.
		UserValidationRules: []apiserverv1.UserValidationRule{
			{Expression: `!user.username.startsWith("system:")`, Message: "the name of a user of the identity provider must not begin with system:"},
			{Expression: `user.groups.all(g, !g.startsWith("system:"))`, Message: "the name of a group of the identity provider must not begin with system:"},
		},
	}
	if c.GroupsClaim != "" {
		jwt.ClaimMappings.Groups = apiserverv1.PrefixedClaimOrExpression{Claim: c.GroupsClaim, Prefix: &groupsPrefix}
	}
	for _, claim := range slices.Sorted(maps.Keys(c.RequiredClaims)) {
		jwt.ClaimValidationRules = append(jwt.ClaimValidationRules, apiserverv1.ClaimValidationRule{Claim: claim, RequiredValue: c.RequiredClaims[claim]})
	}
	return &apiserverv1.AuthenticationConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "AuthenticationConfiguration"},
		JWT:      []apiserverv1.JWTAuthenticator{jwt},
	}, nil
}
