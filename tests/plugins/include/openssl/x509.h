/* All that openvpn-plugin.h wants of OpenSSL. */
typedef struct x509_st X509;
