# For the shells of the image, Lab's terminals among them: /etc/profile has just forgotten the PATH that the image gave.
case ":$PATH:" in
*:/opt/venv/bin:*) ;;
*) PATH=/opt/venv/bin:/home/mnist/.local/bin:$PATH ;;
esac
if [ -n "${BASH_VERSION:-}" ]; then
    PS1='\w\$ '
    HISTFILE=$HOME/.bash_history PROMPT_COMMAND='history -a' # the home folder outlives the container
fi
