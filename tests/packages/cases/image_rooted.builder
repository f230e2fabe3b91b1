# The package is installed into the image's directory by dpkg --root and rpm --root, on a machine that is no instance, without a network.
# Nothing is mounted in the directory.
case $KIND in
deb) unshare --net dpkg --root="$root" --log="$root/var/log/dpkg.log" --install "$packages"/old/eic-keys_*.deb ;;
rpm) unshare --net rpm --root="$root" --nodeps -U "$packages"/old/eic-keys-[0-9]*.rpm ;;
esac >"$work/install.log" 2>&1 || fail "installation into a directory"
nothing_alarming install
nothing_of_the_builder "$root"
rm "$root/usr/sbin/policy-rc.d"
